"""Single frames in shuffled order as training batches: the transports of a campaign, a DataLoader.

Letters: B frames of a batch, H rows, W columns.
Input: phantom clips of 90 frames at 350 x 350, the size of the published clips, in batches of 32
grey frames (B, 1, H, W) uint8 at the stored size. All give the same batches bit for bit.
Ours are the transports of a cell: Ray's shared memory, a memory-mapped file, and a stream, which
mixes 16 clips at a time, as do the loaders beside it. Ray runs before the clock starts; files are
in the page cache on both sides.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from torch import Tensor

from lus_ray.bench.inputs import EpochInputs, ImageFrames, Reader, VideoFileFrames, make_videos
from lus_ray.bench.measure import Comparison
from lus_ray.bench.streams import FEW, check_equal, read_first, storage_rows, stream_rows
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.loading.memmap import attach as attach_mapped
from lus_ray.data.loading.memmap import plan_files as mapped_files
from lus_ray.data.loading.shared_memory import attach, share_frames
from lus_ray.data.transforms.view import View
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect

SETTINGS: dict[str, Any] = {"batch": 32, "seed": 0, "by_frame": True}
WINDOWED = SETTINGS | {"window": 16}
TARGET, TARGET_FIRST, TARGET_STREAMED = 5.0, 1.0, 3.0
EPOCHS = ("epoch", "epoch, mapped", "first epoch, decoding included")


def compare(
    *, num_clips: int = 20, num_held: int = 8, num_frames: int = 90, size: int = 350
) -> Iterator[tuple[str, Comparison]]:
    """Epochs of all clips streamed, and of `num_held` of them from memory and mapped."""
    view = View(num_frames=1, height=size, width=size, num_samples=0)
    with make_videos(num_clips, num_frames, size, images=True) as video_set:
        first = replace(video_set, index=video_set.index[:num_held], rows=video_set.rows[:num_held])
        held, windowed = EpochInputs(first, view, SETTINGS), EpochInputs(video_set, view, WINDOWED)
        loaders = frame_loaders(held)
        with started_readers(loaders) as started:
            yield from transport_rows(held, loaders, started, EPOCHS)
            rivals = {name: partial(read_first, make) for name, make in loaders.items()}
            ours = partial(read_first, partial(first_epoch, held))
            yield (
                "first batch, decoding included",
                Comparison(ours, rivals, target=TARGET_FIRST, **FEW),
            )
            yield from stream_rows(
                windowed, frame_loaders(windowed), kind="frames", target=TARGET_STREAMED
            )
            yield from storage_rows(windowed)


def frame_loaders(inputs: EpochInputs) -> dict[str, Reader]:
    images = ImageFrames(inputs.video_set.images)
    videos = VideoFileFrames(inputs.video_set.videos)
    return {
        "DataLoader, PNG": partial(inputs.new_loader, images),
        "DataLoader, mp4": partial(inputs.new_loader, videos),
    }


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
