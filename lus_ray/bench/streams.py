"""Clips streamed from a store, against DataLoaders with as many processes.

Letters: B samples of a batch, T frames, H rows, W columns, N frames of a clip.
Input: clips and batches of `reads` and `clips` at their stored size. Loaders read images, videos or
the same Parquet files in the same order; all batches are equal bit for bit. From object storage
every request waits, on a server in another process.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from lus_ray.bench.inputs import EpochInputs, Reader, Sample
from lus_ray.bench.measure import Comparison, refuse
from lus_ray.bench.server_process import run_server
from lus_ray.bench.slow_storage import KEYS
from lus_ray.clip import frames_of
from lus_ray.data import store as stores
from lus_ray.data.loading.batches import take_frames
from lus_ray.data.loading.streaming import FRAME_COLUMNS, StreamedFrames
from lus_ray.data.transforms.view import View
from lus_ray.storage.files import find_chunks
from lus_ray.storage.paths import open_filesystem

TARGET_FIRST, TARGET_FILES = 1.0, 0.9
DELAY_S, TARGET_REQUESTS = 0.05, 0.8
FEW: dict[str, Any] = {"repeats": 3, "children": True}
"""Options of epochs that take seconds."""


def stream_rows(
    inputs: EpochInputs, loaders: Mapping[str, Reader], *, kind: str, target: float
) -> Iterator[tuple[str, Comparison]]:
    """An epoch and its first batch, against loaders of other files and of the same."""
    store = inputs.video_set.store
    data = Clips(store, inputs.view, window=inputs.settings.get("window", 1))
    files: dict[str, Reader] = {"DataLoader, Parquet": partial(inputs.new_loader, data)}
    every: dict[str, Reader] = {**loaders, **files}
    new_epochs = partial(inputs.new_epochs, StreamedFrames(str(store)))
    for name, make in every.items():
        check_equal(new_epochs(), make, name)
    for row, rivals, least in (
        (f"{kind}, streamed", loaders, target),
        (f"{kind}, streamed, of the same files", files, TARGET_FILES),
    ):
        running = {name: partial(iter, make()) for name, make in rivals.items()}
        yield row, Comparison(new_epochs(), running, target=least, **FEW)
    first = {name: partial(read_first, make) for name, make in every.items()}
    ours = partial(read_first, new_epochs())
    yield f"{kind}, streamed, first batch", Comparison(ours, first, target=TARGET_FIRST, **FEW)


def storage_rows(inputs: EpochInputs) -> Iterator[tuple[str, Comparison]]:
    """An epoch from object storage that answers late: against a disk, and against its requests.

    What a disk gives depends on the delay; the second row decides.
    """
    row = f"frames, streamed from storage {DELAY_S * 1000:g} ms away"
    store, module = inputs.video_set.store, "lus_ray.bench.slow_storage"
    with (
        mock.patch.dict(os.environ, KEYS),
        run_server(module, str(store.parent), str(DELAY_S)) as server,
    ):
        endpoint = f"endpoint_override={urlsplit(server.url).netloc}"
        uri = f"s3://clips/{store.name}?scheme=http&region=us-east-1&{endpoint}"
        remote, local = (inputs.new_epochs(StreamedFrames(name)) for name in (uri, str(store)))
        disk = {"the same from a disk": local}
        yield row, Comparison(remote, disk, check_equal, **FEW)
        requests = {"requests alone": partial(request_clips, list(find_clips(uri)))}
        yield (
            f"{row}, of its requests",
            Comparison(remote, requests, target=TARGET_REQUESTS, **FEW),
        )


def find_clips(store: str) -> Iterator[tuple[pa.NativeFile, int, int]]:
    """File, first byte and number of bytes of the frames of each row group."""
    for shard in stores.list_shards(store):
        filesystem, path = open_filesystem(shard)
        file = filesystem.open_input_file(path)
        for first, last in find_chunks(stores.open_shard(shard).metadata, ("frames",)):
            yield file, first, last - first


def request_clips(clips: Iterable[tuple[pa.NativeFile, int, int]]) -> int:
    """The bytes of all clips, requested as many at a time as Arrow has requests."""
    with ThreadPoolExecutor(pa.io_thread_count()) as threads:
        return sum(threads.map(lambda clip: len(clip[0].read_at(clip[2], clip[1])), clips))


class Clips(Dataset):
    """Samples of clips of a store; a worker keeps the clips of a window, and reads each once."""

    def __init__(self, store: Path, view: View, *, window: int) -> None:
        self.places, self.view = stores.locate_clips(store), view
        unverified = partial(stores.open_shard, verify=False)  # Arrow's default
        opened = lru_cache(maxsize=window)(unverified)

        def read(clip: str) -> UInt8[np.ndarray, "N H W"]:
            place = [self.places[clip]]
            (row,) = stores.read_located(store, place, FRAME_COLUMNS, opened=opened)
            return frames_of(row)

        self.read = lru_cache(maxsize=window + 1)(read)

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "T H W"]:
        _, row, draw = sample
        return torch.from_numpy(take_frames(self.read(row["clip"]), self.view, draw))


def read_first(batches: Reader) -> tuple[Tensor, object]:
    """The first batch, and its reader: prefetching ends, untimed, when it is released."""
    reader = iter(batches())
    return next(reader), reader


def check_equal(ours: Reader, theirs: Reader, name: str) -> None:
    """Raise LusError if the number of batches differs, or any pixel."""
    for number, (batch, other) in enumerate(zip_longest(ours(), theirs())):
        if batch is None or other is None:
            refuse(f"{name!r} gives {'more' if batch is None else 'fewer'} batches than ours")
        if not torch.equal(batch, other):
            refuse(f"batch {number} of {name!r} holds other pixels than ours")
