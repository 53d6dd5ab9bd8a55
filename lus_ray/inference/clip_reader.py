"""Reads the frames of clips ahead of their use: files in child processes, stores by row group."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, groupby
from pathlib import Path
from queue import SimpleQueue

import pyarrow.parquet as pq

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.errors import LusError
from lus_ray.inference.clip_inputs import ClipInput
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import wrap_frames
from lus_ray.storage.child_process import count_cores, shut_down
from lus_ray.storage.paths import PathOrUri, is_remote

COLUMNS = ("clip", "height", "width", "fps", "mm_per_pixel", "frames")

Read = tuple[ClipInput, DecodedVideo | LusError]


class ClipReader:
    """A context manager; at its end the threads and the decoder processes end, too.

    `workers` files are decoded at a time, one a core by default. Relative paths are below `root`.
    """

    def __init__(
        self, *, allow_text: bool = False, workers: int | None = None, root: Path | None = None
    ) -> None:
        self.allow_text, self.workers = allow_text, workers or count_cores()
        self.root = root or Path()
        limits = ServiceLimits()
        self.decoders = [
            FileDecoder(limits.clip, max_side=limits.max_side) for _ in range(self.workers)
        ]
        self.free: SimpleQueue[FileDecoder] = SimpleQueue()
        for decoder in self.decoders:
            self.free.put(decoder)
        self.shard: tuple[PathOrUri, pq.ParquetFile] | None = None

    def __enter__(self) -> "ClipReader":
        self.decoding = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        self.loading = ThreadPoolExecutor(1, thread_name_prefix="store")
        return self

    def __exit__(self, *error: object) -> None:
        self.loading.shutdown(cancel_futures=True)
        shut_down(self.decoding, self.decoders)

    def read(self, inputs: Iterable[ClipInput]) -> Iterator[Read]:
        """The frames of each input in order, or the error that it gives."""
        pending: deque[Future[list[Read]]] = deque()
        number = count()
        for _, group in groupby(inputs, key=lambda item: _row_group(item) or next(number)):
            items = list(group)
            if items[0].location is None:
                pending.append(self.decoding.submit(self._decode, items))
            else:
                pending.append(self.loading.submit(self._load, items))
            if len(pending) > self.workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()

    def _decode(self, items: list[ClipInput]) -> list[Read]:
        (item,) = items
        decoder = self.free.get()
        try:
            return [(item, decoder.decode(self.root / item.clip, allow_text=self.allow_text))]
        except LusError as error:
            return [(item, error)]
        finally:
            self.free.put(decoder)

    def _load(self, items: list[ClipInput]) -> list[Read]:
        """Clips of one row group; damage to it concerns them all."""
        located = [item.location for item in items if item.location is not None]
        folder = items[0].store
        assert folder is not None
        folder = folder if is_remote(folder) else self.root / folder
        try:
            rows = list(store.read_located(folder, located, COLUMNS, opened=self._open))
        except LusError as error:
            return [(item, error) for item in items]
        return [
            (item, wrap_frames(frames_of(row), fps=row["fps"], mm_per_pixel=row["mm_per_pixel"]))
            for item, row in zip(items, rows, strict=True)
        ]

    def _open(self, path: PathOrUri) -> pq.ParquetFile:
        """A shard, kept open until another one is read."""
        if self.shard is None or self.shard[0] != path:
            self.shard = (path, store.open_shard(path))
        return self.shard[1]


def _row_group(item: ClipInput) -> tuple[str, str, int] | None:
    return None if item.location is None else (str(item.store), *item.location[1:3])
