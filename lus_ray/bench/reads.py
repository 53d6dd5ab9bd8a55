"""Single frames in shuffled order as training batches: the transports of a campaign, a DataLoader.

Letters: B frames of a batch, H rows, W columns.
What is read: phantom clips of 90 frames at 350 x 350, the size of the published clips, in batches
of 32 grey frames (B, 1, H, W) uint8 at the stored size, so that nobody resizes. All give the same
batches in the same order, checked bit for bit.
Ours are the transports of a cell: Ray's shared memory, a memory-mapped file, and a stream of Ray
Data. Ray runs before the clock starts; files are in the page cache on both sides.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lus_ray.bench.inputs import (
    NUM_FRAMES,
    SIZE,
    EpochBatches,
    ImageFrames,
    VideoFrames,
    VideoSet,
    make_loader,
    make_videos,
)
from lus_ray.bench.measure import Comparison, compare_in_turn
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.loading.memmap import attach as attach_mapped
from lus_ray.data.loading.memmap import plan_files as mapped_files
from lus_ray.data.loading.sampler import sample_epoch
from lus_ray.data.loading.shared_memory import attach, share_frames
from lus_ray.data.loading.streaming import StreamedFrames
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect

NUM_CLIPS = 8
SETTINGS: dict[str, Any] = {"batch": 32, "seed": 0, "by_frame": True}
TARGET = 5.0
TARGET_FIRST = 1.0

Batches = Iterable[Tensor]
"""The frames of the batches of one epoch."""


def measure(
    repeats: int = 7, *, num_clips: int = NUM_CLIPS, num_frames: int = NUM_FRAMES, size: int = SIZE
) -> dict[str, Comparison]:
    """Epochs from shared memory, mapped and streamed, the first with all decoding, first batches.

    Raises:
        LusError: a baseline gives other batches than ours.
    """
    view = View(num_frames=1, height=size, width=size, num_samples=0)
    options = {"num_clips": num_clips, "num_frames": num_frames, "size": size}
    with make_videos(**options, images=True) as video_set:
        data: dict[str, Dataset] = {
            "DataLoader, PNG": ImageFrames(video_set.images),
            "DataLoader, mp4": VideoFrames(video_set.videos),
        }
        started = {name: new_loader(video_set, reader) for name, reader in data.items()}
        for loader in started.values():
            list(loader)  # workers fork before Ray starts threads
        with quiet_ray():
            return _compare(video_set, view, data, started, repeats)


def _compare(
    video_set: VideoSet,
    view: View,
    data: Mapping[str, Dataset],
    started: Mapping[str, DataLoader],
    repeats: int,
) -> dict[str, Comparison]:
    transports = Transports(video_set, view, SETTINGS)
    fresh = {name: partial(new_loader, video_set, reader) for name, reader in data.items()}
    for name, make in fresh.items():
        transports.check_equal(make, name)
    compare = partial(compare_in_turn, warmup=1, children=True)
    steady = {name: partial(read_all, partial(iter, loader)) for name, loader in started.items()}
    first_epochs = {name: partial(read_all, make) for name, make in fresh.items()}
    first_batches = {name: partial(read_first, make) for name, make in fresh.items()}
    few = max(1, repeats // 2)
    mapped, streamed = (partial(read_all, epochs) for epochs in transports.on_disk)
    return {
        "epoch": compare(
            partial(read_all, transports.in_memory), steady, repeats=repeats, target=TARGET
        ),
        "epoch, mapped": compare(mapped, steady, repeats=repeats, target=TARGET),
        "first epoch, decoding included": compare(
            partial(read_all, transports.first_epoch), first_epochs, repeats=few, target=TARGET
        ),
        "epoch, streamed": compare(streamed, steady, repeats=few, target=TARGET),
        "first batch of a cell": compare(
            partial(read_first, transports.first_of_cell),
            first_batches,
            repeats=repeats,
            target=TARGET_FIRST,
        ),
        "first batch, decoding included": compare(
            partial(read_first, transports.first_epoch),
            first_batches,
            repeats=repeats,
            target=TARGET_FIRST,
        ),
    }


class Transports:
    """The ways in which a cell reads its batches; each call of one gives the next epoch."""

    def __init__(self, video_set: VideoSet, view: View, settings: Mapping[str, Any]) -> None:
        self.videos, self.view = video_set, view
        self.options: dict[str, Any] = {"view": view, "columns": (), **settings}
        self.shared = share_frames(video_set.store, video_set.index, [size_of(view)])
        self.in_memory = self._by_epoch(attach(self.shared))
        self.readers = map_frames(video_set, view), StreamedFrames(str(video_set.store))
        self.on_disk = [self._by_epoch(reader) for reader in self.readers]

    def first_epoch(self) -> Iterator[Tensor]:
        """Epoch 0 after all clips are decoded into shared memory."""
        return self._by_epoch(attach(self._share()))()

    def first_of_cell(self) -> Iterator[Tensor]:
        """Epoch 0 of a cell that finds the frames in shared memory."""
        return self._by_epoch(attach(self.shared))()

    def check_equal(self, make: Callable[[], Batches], name: str) -> None:
        """Refuse a baseline whose first epoch differs from that of any transport.

        Raises:
            LusError: names the baseline and the first batch that differs.
        """
        for epochs in (self.first_epoch, *map(self._by_epoch, self.readers)):
            check_equal(epochs(), make(), name)

    def _share(self) -> Any:
        return share_frames(self.videos.store, self.videos.index, [size_of(self.view)])

    def _by_epoch(self, reader: Any) -> Callable[[], Iterator[Tensor]]:
        epochs, numbers = reader.epochs(self.videos.rows, **self.options), count()
        return lambda: (batch["frames"] for batch in epochs(next(numbers)))


def map_frames(video_set: VideoSet, view: View) -> InMemory:
    """The frames as files beside the store, mapped into this process."""
    before = os.environ.get("LUS_CACHE")
    os.environ["LUS_CACHE"] = str(video_set.store.parent / "cache")
    try:
        return attach_mapped(mapped_files(video_set.store, {size_of(view)}, set()))
    finally:
        os.environ.pop("LUS_CACHE")
        os.environ |= {} if before is None else {"LUS_CACHE": before}


@contextmanager
def quiet_ray() -> Iterator[None]:
    """A Ray cluster on which Ray Data logs nothing but errors."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with connect(None, imports=CELL_MODULE):
            yield
    finally:
        logger.setLevel(before)


def new_loader(
    video_set: VideoSet, data: Dataset, settings: Mapping[str, Any] = SETTINGS
) -> DataLoader:
    """A loader whose workers have not started; it begins with epoch 0."""

    def batches_of(epoch: int) -> list:
        return sample_epoch(video_set.rows, epoch=epoch, **settings)

    return make_loader(data, EpochBatches(video_set.rows, batches_of))


def read_all(batches: Callable[[], Batches]) -> Batches:
    """Read an epoch; the caller closes the reader by releasing it."""
    reader = batches()
    for _ in reader:
        pass
    return reader


def read_first(batches: Callable[[], Batches]) -> Iterator[Tensor]:
    """Read the first batch; the caller stops prefetching by releasing the reader."""
    reader = iter(batches())
    next(reader)
    return reader


def check_equal(ours: Batches, theirs: Batches, name: str) -> None:
    """Refuse to compare readers whose batches differ in number or in any pixel.

    Raises:
        LusError: names the baseline and the first batch that differs.
    """
    mine, others = list(ours), list(theirs)
    if len(mine) != len(others):
        raise LusError(f"{name!r} gives {len(others)} batches, ours {len(mine)}; no ratio is given")
    for number, (batch, other) in enumerate(zip(mine, others, strict=True)):
        if not torch.equal(batch, other):
            raise LusError(
                f"batch {number} of {name!r} holds other pixels than ours; no ratio is given for "
                "unequal work"
            )
