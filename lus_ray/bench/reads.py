"""Single frames in shuffled order as training batches: a campaign's transports, and a DataLoader.

Letters: B frames of a batch, H rows, W columns.
What is read: phantom clips of 90 frames at 350 x 350, the size of the published clips, in batches
of 32 grey frames (B, 1, H, W) uint8 at the stored size, so that nobody has to resize: ours would do
so once, a rival in every epoch. All give the same batches in the same order, checked bit for bit.
Ours, as a cell of a campaign has it: frames that `engine.frames.share` put into Ray's memory; a
file of the machine (`engine.mapped`) where a store is too large for that; Ray Data's stream where
the disk has no room either. Ray runs already, as it does for a cell. Files that were read before
lie in the system's memory, on both sides.
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

from lus_ray.bench.inputs import NUM_FRAMES, SIZE, Footage, footage
from lus_ray.bench.loaders import Dealt, Pictures, VideoFrames, loader
from lus_ray.bench.measure import Measured, interleaved
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
    repeats: int = 7,
    *,
    num_clips: int = NUM_CLIPS,
    num_frames: int = NUM_FRAMES,
    size: int = SIZE,
) -> dict[str, Measured]:
    """Epochs from shared memory, mapped and streamed, the first with all decoding, first batches.

    Raises:
        LusError: a rival gives other batches than ours, so that no ratio has a sense.
    """
    view = View(num_frames=1, height=size, width=size, num_samples=0)
    with footage(num_clips=num_clips, num_frames=num_frames, size=size, pictures=True) as films:
        data: dict[str, Dataset] = {
            "DataLoader, PNG": Pictures(films.pictures),
            "DataLoader, mp4": VideoFrames(films.videos),
        }
        started = {name: fresh(films, each) for name, each in data.items()}
        for each in started.values():
            list(each)  # workers fork before there are threads of Ray
        with ray_in_silence():
            return _measured(films, view, data, started, repeats)


def _measured(
    films: Footage,
    view: View,
    data: Mapping[str, Dataset],
    started: Mapping[str, DataLoader],
    repeats: int,
) -> dict[str, Measured]:
    asked: dict[str, Any] = {"view": view, "columns": (), **SETTINGS}
    shared = share_frames(films.store, films.index, [size_of(view)])
    from_memory = attach(shared).epochs(films.rows, **asked)
    mapped = on_disk(films, view).epochs(films.rows, **asked)
    streamed = StreamedFrames(str(films.store)).epochs(films.rows, **asked)

    def first_epoch() -> Iterator[Tensor]:
        pixels = attach(share_frames(films.store, films.index, [size_of(view)]))
        return only_frames(pixels.epochs(films.rows, **asked)(0))

    def first_batch() -> Iterator[Tensor]:
        return only_frames(attach(shared).epochs(films.rows, **asked)(0))

    anew = {name: partial(fresh, films, each) for name, each in data.items()}
    for name, make in anew.items():
        check_equal(first_epoch(), make(), name)
        for other in (mapped, streamed):
            check_equal(only_frames(other(0)), make(), name)
    compare = partial(interleaved, warmup=1, children=True)
    steady = {name: partial(all_of, partial(again, each)) for name, each in started.items()}
    begun = {name: partial(all_of, make) for name, make in anew.items()}
    soon = {name: partial(one_of, make) for name, make in anew.items()}
    in_memory, on_file, in_stream = map(counted, (from_memory, mapped, streamed))
    few = max(1, repeats // 2)
    return {
        "epoch": compare(partial(all_of, in_memory), steady, repeats=repeats, target=TARGET),
        "epoch, mapped": compare(partial(all_of, on_file), steady, repeats=repeats, target=TARGET),
        "first epoch, decoding included": compare(
            partial(all_of, first_epoch), begun, repeats=few, target=TARGET
        ),
        "epoch, streamed": compare(partial(all_of, in_stream), steady, repeats=few, target=TARGET),
        "first batch of a cell": compare(
            partial(one_of, first_batch), soon, repeats=repeats, target=TARGET_FIRST
        ),
        "first batch, decoding included": compare(
            partial(one_of, first_epoch), soon, repeats=repeats, target=TARGET_FIRST
        ),
    }


def on_disk(films: Footage, view: View) -> InMemory:
    """The frames as files beside the store, mapped into this process."""
    before = os.environ.get("LUS_CACHE")
    os.environ["LUS_CACHE"] = str(films.store.parent / "cache")
    try:
        return attach_mapped(mapped_files(films.store, {size_of(view)}, set()))
    finally:
        os.environ.pop("LUS_CACHE")
        os.environ |= {} if before is None else {"LUS_CACHE": before}


@contextmanager
def ray_in_silence() -> Iterator[None]:
    """A Ray cluster, on which Ray Data says nothing of what it runs."""
    talk = logging.getLogger("ray.data")
    before = talk.level
    talk.setLevel(logging.ERROR)
    try:
        with connect(None, imports=CELL_MODULE):
            yield
    finally:
        talk.setLevel(before)


def fresh(films: Footage, data: Dataset, settings: Mapping[str, Any] = SETTINGS) -> DataLoader:
    """A loader whose workers have not started; it begins with epoch 0."""

    def deal(epoch: int) -> list:
        return sample_epoch(films.rows, epoch=epoch, **settings)

    return loader(data, Dealt(films.rows, deal))


def only_frames(batches: Iterable[Mapping[str, Tensor]]) -> Iterator[Tensor]:
    """Batches without their labels."""
    return (batch["frames"] for batch in batches)


def counted(epochs: Callable[[int], Iterable[Mapping[str, Tensor]]]) -> Callable[[], Batches]:
    """Another epoch with every call."""
    numbers = count()
    return lambda: only_frames(epochs(next(numbers)))


def again(started: DataLoader) -> DataLoader:
    """The same loader, for its next epoch."""
    return started


def all_of(batches: Callable[[], Batches]) -> Batches:
    """Read an epoch; what read it is closed by whoever lets it go."""
    reader = batches()
    for _ in reader:
        pass
    return reader


def one_of(batches: Callable[[], Batches]) -> Iterator[Tensor]:
    """Read the first batch; what reads ahead is stopped by whoever lets it go."""
    reader = iter(batches())
    next(reader)
    return reader


def check_equal(ours: Batches, theirs: Batches, name: str) -> None:
    """Refuse to compare readers whose batches differ in number or in any pixel.

    Raises:
        LusError: names the rival and the first batch that differs.
    """
    mine, others = list(ours), list(theirs)
    if len(mine) != len(others):
        raise LusError(f"{name!r} gives {len(others)} batches, ours {len(mine)}; no ratio is given")
    for number, (one, other) in enumerate(zip(mine, others, strict=True)):
        if not torch.equal(one, other):
            raise LusError(
                f"batch {number} of {name!r} holds other pixels than ours; no ratio is given for "
                "unequal work"
            )
