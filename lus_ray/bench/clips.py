"""Windows of clips as training batches, and what grows with the number of clips.

Letters: B windows of a batch, T frames, H rows, W columns.
What is read: windows of 15 of 90 frames of phantom clips at 350 x 350, in batches of 4
(B, T, H, W) uint8 at the stored size, each with a random start (Gare et al. 2022, section 3.2).
The rival is PyAV in a DataLoader of two workers. All give the same batches in the same order,
checked bit for bit.
What should not grow is held against the same work on a small store: see `scale`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from lus_ray.bench import scale
from lus_ray.bench.inputs import NUM_FRAMES, SIZE, Footage, footage
from lus_ray.bench.loaders import VideoWindows
from lus_ray.bench.measure import Measured, interleaved
from lus_ray.bench.reads import (
    all_of,
    check_equal,
    counted,
    fresh,
    on_disk,
    only_frames,
    ray_in_silence,
)
from lus_ray.data.loading.batches import size_of
from lus_ray.data.loading.shared_memory import attach, share_frames
from lus_ray.data.loading.streaming import StreamedFrames
from lus_ray.data.transforms.view import View

NUM_CLIPS = 8
NUM_TIMES = 5
"""An epoch draws so many windows of every clip, as its start-up would else be most of it."""

SETTINGS: dict[str, Any] = {"batch": 4, "seed": 0}
TARGET = 5.0
RIVAL = "DataLoader, mp4"


def measure(
    repeats: int = 7,
    *,
    num_clips: int = NUM_CLIPS,
    num_frames: int = NUM_FRAMES,
    size: int = SIZE,
    many: int = scale.MANY,
    num_shares: int = scale.NUM_SHARES,
) -> dict[str, Measured]:
    """An epoch of windows from shared memory, mapped, streamed, the first with all decoding.

    Then clips of a store of `many` against those of a hundredth of it, and a stream from a store
    of `num_shares` times the clips of this one against a stream from this one.

    Raises:
        LusError: a rival gives other batches than ours, so that no ratio has a sense.
    """
    view = View(num_frames=15, height=size, width=size)
    with footage(num_clips=num_clips, num_frames=num_frames, size=size) as films:
        films.rows.extend(films.rows * (NUM_TIMES - 1))
        started = fresh(films, VideoWindows(films.videos, view), SETTINGS)
        list(started)  # workers fork before there are threads of Ray
        with ray_in_silence():
            found = _windows(films, view, started, repeats)
            return found | scale.measure(films, view, repeats, many=many, num_shares=num_shares)


def _windows(films: Footage, view: View, started: DataLoader, repeats: int) -> dict[str, Measured]:
    asked: dict[str, Any] = {"view": view, "columns": (), **SETTINGS}
    shared = share_frames(films.store, films.index, [size_of(view)])
    from_memory = attach(shared).epochs(films.rows, **asked)
    mapped = on_disk(films, view).epochs(films.rows, **asked)
    streamed = StreamedFrames(str(films.store)).epochs(films.rows, **asked)
    anew = partial(fresh, films, VideoWindows(films.videos, view), SETTINGS)

    def first_epoch() -> Iterator[Tensor]:
        pixels = attach(share_frames(films.store, films.index, [size_of(view)]))
        return only_frames(pixels.epochs(films.rows, **asked)(0))

    check_equal(first_epoch(), anew(), RIVAL)
    for other in (mapped, streamed):
        check_equal(only_frames(other(0)), anew(), RIVAL)
    compare = partial(interleaved, warmup=1, target=TARGET, children=True)
    steady, begun = {RIVAL: partial(all_of, lambda: started)}, {RIVAL: partial(all_of, anew)}
    few = max(1, repeats // 2)
    return {
        "windows": compare(partial(all_of, counted(from_memory)), steady, repeats=repeats),
        "windows, mapped": compare(partial(all_of, counted(mapped)), steady, repeats=repeats),
        "windows, first epoch, decoding included": compare(
            partial(all_of, first_epoch), begun, repeats=few
        ),
        "windows, streamed": compare(partial(all_of, counted(streamed)), steady, repeats=few),
    }
