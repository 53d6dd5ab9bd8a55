"""Single frames in shuffled order as training batches: the transports of a campaign, a DataLoader.

Letters: B samples of a batch, T frames, H rows, W columns, N frames of a clip.
Input: phantom clips of 90 frames at 350 x 350, the size of the published clips, in batches of 32
grey frames (B, 1, H, W) uint8 at the stored size. All give the same batches bit for bit.
Ours are the transports of a cell: Ray's shared memory, a memory-mapped file, and a stream, which
mixes 16 clips at a time, as do the loaders beside it. Loaders have as many processes and read
images, videos or the same Parquet files. Ray runs before the clock starts; files are in the page
cache on both sides. From object storage every request waits, on a server in another process.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pyarrow as pa
import torch
from torch import Tensor

from lus_ray.bench.inputs import EpochInputs, Reader, StoredClips, make_videos
from lus_ray.bench.measure import Comparison, refuse
from lus_ray.bench.server_process import run_server
from lus_ray.bench.slow_storage import KEYS
from lus_ray.data import store as stores
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.loading.memmap import attach as attach_mapped
from lus_ray.data.loading.memmap import plan_files as mapped_files
from lus_ray.data.loading.shared_memory import attach, share_frames
from lus_ray.data.loading.streaming import StreamedFrames
from lus_ray.data.transforms.view import View
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.storage.files import find_chunks
from lus_ray.storage.paths import open_filesystem

SETTINGS: dict[str, Any] = {"batch": 32, "seed": 0, "by_frame": True}
WINDOWED = SETTINGS | {"window": 16}
TARGET, TARGET_FIRST, TARGET_STREAMED, TARGET_FILES = 5.0, 1.0, 3.0, 0.9
DELAY_S, TARGET_REQUESTS = 0.05, 0.8
FEW: dict[str, Any] = {"repeats": 3, "children": True}
"""Options of epochs that take seconds."""
EPOCHS = ("epoch", "epoch, mapped", "first epoch, decoding included")


def compare(
    *, num_clips: int = 20, num_held: int = 8, num_frames: int = 90, size: int = 350
) -> Iterator[tuple[str, Comparison]]:
    """Epochs of all clips streamed, and of `num_held` of them from memory and mapped."""
    view = View(num_frames=1, height=size, width=size, num_samples=0)
    with make_videos(num_clips, num_frames, size, images=True) as video_set:
        first = replace(video_set, index=video_set.index[:num_held], rows=video_set.rows[:num_held])
        held, windowed = EpochInputs(first, view, SETTINGS), EpochInputs(video_set, view, WINDOWED)
        loaders = held.frame_loaders()
        with started_readers(loaders) as started:
            yield from transport_rows(held, loaders, started, EPOCHS)
            rivals = {name: partial(read_first, make) for name, make in loaders.items()}
            ours = partial(read_first, partial(first_epoch, held))
            yield (
                "first batch, decoding included",
                Comparison(ours, rivals, target=TARGET_FIRST, **FEW),
            )
            yield from stream_rows(
                windowed, windowed.frame_loaders(), kind="frames", target=TARGET_STREAMED
            )
            yield from storage_rows(windowed)


def transport_rows(
    inputs: EpochInputs,
    loaders: Mapping[str, Reader],
    started: Mapping[str, Reader],
    names: tuple[str, ...],
) -> Iterator[tuple[str, Comparison]]:
    """Epochs from shared memory, from a mapped file, and the first one with its decoding."""
    store, size = inputs.video_set.store, size_of(inputs.view)
    with mock.patch.dict(os.environ, LUS_CACHE=str(store.parent / "cache")):
        mapped = attach_mapped(mapped_files(store, {size}, set()))
    decoding = partial(first_epoch, inputs)
    for name, make in loaders.items():
        for epochs in (decoding, inputs.new_epochs(mapped)):
            check_equal(epochs, make, name)
    fresh = {name: partial(iterate, make) for name, make in loaders.items()}
    runs: tuple[tuple[Reader, Mapping[str, Reader]], ...] = (
        (inputs.new_epochs(share(inputs)), started),
        (inputs.new_epochs(mapped), started),
        (decoding, fresh),
    )
    for name, (ours, rivals) in zip(names, runs, strict=True):
        yield name, Comparison(ours, rivals, target=TARGET, **FEW)


def share(inputs: EpochInputs) -> InMemory:
    """All clips, decoded into Ray's shared memory."""
    video_set = inputs.video_set
    return attach(share_frames(video_set.store, video_set.index, [size_of(inputs.view)]))


def first_epoch(inputs: EpochInputs) -> Iterable[Tensor]:
    return inputs.new_epochs(share(inputs))()


def iterate(make: Reader) -> Iterator[Tensor]:
    return iter(make())


@contextmanager
def started_readers(loaders: Mapping[str, Reader]) -> Iterator[dict[str, Reader]]:
    """Readers with running workers, beside a Ray cluster."""
    started = {name: make() for name, make in loaders.items()}
    for loader in started.values():
        list(loader)  # workers fork before Ray starts threads
    with connect(None, imports=CELL_MODULE):
        yield {name: partial(iter, loader) for name, loader in started.items()}


def stream_rows(
    inputs: EpochInputs, loaders: Mapping[str, Reader], *, kind: str, target: float
) -> Iterator[tuple[str, Comparison]]:
    """An epoch and its first batch, against loaders of other files and of the same."""
    store = inputs.video_set.store
    data = StoredClips(store, inputs.view, window=inputs.settings.get("window", 1))
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
        yield row, Comparison(remote, disk, check_equal, children=True)
        requests = {"requests alone": partial(request_clips, list(find_clips(uri)))}
        yield (
            f"{row}, of its requests",
            Comparison(remote, requests, target=TARGET_REQUESTS, children=True),
        )


def find_clips(store: str) -> Iterator[tuple[pa.NativeFile, int, int]]:
    """File, first byte and number of bytes of the frames of each row group."""
    for shard in stores.list_shards(store):
        filesystem, path = open_filesystem(shard)
        file, metadata = filesystem.open_input_file(path), stores.open_shard(shard).metadata
        for number in range(metadata.num_row_groups):
            for first, last in find_chunks(metadata, ("frames",), groups=[number]):
                yield file, first, last - first


def request_clips(clips: Iterable[tuple[pa.NativeFile, int, int]]) -> int:
    """The bytes of all clips, requested as many at a time as Arrow has requests."""
    with ThreadPoolExecutor(pa.io_thread_count()) as threads:
        return sum(threads.map(lambda clip: len(clip[0].read_at(clip[2], clip[1])), clips))


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
