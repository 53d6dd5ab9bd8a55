"""The worker pool of an ingest: decode and check the items of a reader, in order.

Why threads: each uses a decoder process; the rest, hashing and comparing, releases the GIL.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lus_ray import clip
from lus_ray.data.decoding.decoder import DecodedVideo, DecodeLimits, FileDecoder
from lus_ray.data.duplicates.groups import compute_signature
from lus_ray.data.ingest.conflicts import name_item
from lus_ray.data.ledger import Ledger
from lus_ray.data.store import Writer
from lus_ray.errors import DecodeError, SchemaError, SourceError
from lus_ray.storage.child_process import count_cores, shut_down

Made = Future[tuple[clip.Row, DecodedVideo]]


@dataclass
class IngestPool:
    """Make rows from the items of a reader, several at once, in the reader's order.

    `workers` files are decoded at once, one per core where None. Only the calling thread writes the
    ledger, so that it has the reader's order too. `stored` are the files of the rows so far.
    """

    source: str
    ledger: Ledger
    limits: DecodeLimits
    max_side: int
    workers: int | None
    root: Path | None = None

    def __post_init__(self) -> None:
        self.num_workers = self.workers or count_cores()
        self.decoders = [
            FileDecoder(self.limits, max_side=self.max_side) for _ in range(self.num_workers)
        ]
        self.free: SimpleQueue[FileDecoder] = SimpleQueue()
        for decoder in self.decoders:
            self.free.put(decoder)
        self.stored: list[Path] = []

    def __enter__(self) -> "IngestPool":
        self.threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="ingest")
        return self

    def __exit__(self, *exception: object) -> None:
        shut_down(self.threads, self.decoders)

    def write(
        self, items: Iterable[dict[str, Any]], writer: Writer
    ) -> Iterator[tuple[clip.Row, int]]:
        """Each row when it is written, and its number of frames."""
        return writer.add_all(self.make_rows(items))

    def make_rows(self, items: Iterable[dict[str, Any]]) -> Iterator[clip.Row]:
        """Rows in the order of `items`; unusable ones go to the ledger instead."""
        pending: deque[tuple[dict[str, Any], Made]] = deque()
        for item in items:
            pending.append((item, self.threads.submit(self._make, item)))
            if len(pending) > self.num_workers:
                yield from self._finish(*pending.popleft())
        while pending:
            yield from self._finish(*pending.popleft())

    def _make(self, item: dict[str, Any]) -> tuple[clip.Row, DecodedVideo]:
        columns = {"source": self.source, **item}
        file, allow_text = columns.pop("file"), columns.pop("allow_text", False)
        decoder = self.free.get()
        try:
            decoded = decoder.decode(file, allow_text=allow_text)
        finally:
            self.free.put(decoder)
        columns["frames"] = decoded.frames
        if grades := columns.get("frame_severity"):
            columns["frame_severity"] = decoded.drop_removed(grades)
        if callable(columns.get("masks")):
            columns["masks"] = columns["masks"](decoded)
        if columns.get("fps") is None:
            columns["fps"] = decoded.fps
        if columns.get("mm_per_pixel") is not None:
            columns["mm_per_pixel"] /= decoded.scale
        else:
            columns["mm_per_pixel"] = decoded.mm_per_pixel
        columns["signature"] = compute_signature(decoded.frames)
        return clip.make_row(**columns), decoded

    def _finish(self, item: dict[str, Any], future: Made) -> Iterator[clip.Row]:
        try:
            row, decoded = future.result()
        except (DecodeError, SchemaError, SourceError) as error:
            self.ledger.skip(self.source, name_item(item, self.root), str(error))
            return
        self.stored.append(item["file"])
        for note in decoded.notes:
            write = self.ledger.repair if note.startswith("repaired") else self.ledger.note
            write(self.source, row["clip"], note)
        yield row
