"""Single frames in shuffled order as training batches: the transports of a campaign, a DataLoader.

Letters: B frames of a batch, H rows, W columns.
Input: phantom clips of 90 frames at 350 x 350, the size of the published clips, in batches of 32
grey frames (B, 1, H, W) uint8 at the stored size. All give the same batches bit for bit.
Ours are the transports of a cell: Ray's shared memory, a memory-mapped file, and a stream, which
mixes 16 clips at a time, as do the loaders beside it. Ray runs before the clock starts; files are
in the page cache on both sides.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any
from unittest import mock

from torch import Tensor

from lus_ray.bench.inputs import ImageFrames, VideoFileFrames, VideoSet, make_videos, new_loader
from lus_ray.bench.measure import Comparison
from lus_ray.bench.slow_storage import KEYS
from lus_ray.bench.streams import FEW, Reader, check_equal, read_first, storage_rows, stream_rows
from lus_ray.data.loading.batches import size_of
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
        held = replace(video_set, index=video_set.index[:num_held], rows=video_set.rows[:num_held])
        loaders = frame_loaders(held, SETTINGS)
        with mock.patch.dict(os.environ, KEYS), started_readers(loaders) as started:
            transports = Transports(held, view, SETTINGS)
            yield from transports.compare(loaders, started, EPOCHS)
            first = {name: partial(read_first, make) for name, make in loaders.items()}
            ours = partial(read_first, transports.first_epoch)
            yield (
                "first batch, decoding included",
                Comparison(ours, first, target=TARGET_FIRST, children=True, repeats=FEW),
            )
            loaders = frame_loaders(video_set, WINDOWED)
            yield from stream_rows(
                video_set, view, WINDOWED, loaders, kind="frames", target=TARGET_STREAMED
            )
            yield from storage_rows(video_set, view, WINDOWED)


def frame_loaders(video_set: VideoSet, settings: Mapping[str, Any]) -> dict[str, Reader]:
    return {
        "DataLoader, PNG": partial(new_loader, video_set, ImageFrames(video_set.images), settings),
        "DataLoader, mp4": partial(
            new_loader, video_set, VideoFileFrames(video_set.videos), settings
        ),
    }


class Transports:
    """The ways in which a cell reads its batches; each call of one gives the next epoch."""

    def __init__(self, video_set: VideoSet, view: View, settings: Mapping[str, Any]) -> None:
        self.rows = video_set.rows
        self.options: dict[str, Any] = {"view": view, "columns": (), **settings}
        self.share = partial(share_frames, video_set.store, video_set.index, [size_of(view)])
        with mock.patch.dict(os.environ, LUS_CACHE=str(video_set.store.parent / "cache")):
            mapped = attach_mapped(mapped_files(video_set.store, {size_of(view)}, set()))
        self.mapped = mapped

    def first_epoch(self) -> Iterator[Tensor]:
        """Epoch 0 after all clips are decoded into shared memory."""
        return self._by_epoch(attach(self.share()))()

    def compare(
        self, loaders: Mapping[str, Reader], started: Mapping[str, Reader], names: tuple[str, ...]
    ) -> Iterator[tuple[str, Comparison]]:
        in_memory, mapped = map(self._by_epoch, (attach(self.share()), self.mapped))
        for name, make in loaders.items():
            for epochs in (self.first_epoch, self._by_epoch(self.mapped)):
                check_equal(epochs, make, name)
        fresh = {name: partial(iterate, make) for name, make in loaders.items()}
        runs: tuple[tuple[Reader, Mapping[str, Reader]], ...] = (
            (in_memory, started), (mapped, started), (self.first_epoch, fresh)
        )  # fmt: skip
        for name, (ours, rivals) in zip(names, runs, strict=True):
            yield name, Comparison(ours, rivals, target=TARGET, children=True, repeats=FEW)

    def _by_epoch(self, reader: Any) -> Callable[[], Iterator[Tensor]]:
        epochs, numbers = reader.epochs(self.rows, **self.options), count()
        return lambda: (batch["frames"] for batch in epochs(next(numbers)))


def iterate(make: Reader) -> Iterator[Tensor]:
    return iter(make())


@contextmanager
def started_readers(loaders: Mapping[str, Reader]) -> Iterator[dict[str, Reader]]:
    """Readers with running workers, beside a Ray cluster whose Ray Data logs only errors."""
    started = {name: make() for name, make in loaders.items()}
    for loader in started.values():
        list(loader)  # workers fork before Ray starts threads
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with connect(None, imports=CELL_MODULE):
            yield {name: partial(iter, loader) for name, loader in started.items()}
    finally:
        logger.setLevel(before)
