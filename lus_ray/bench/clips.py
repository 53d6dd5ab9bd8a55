"""Windows of clips as training batches, and costs that must not grow with the number of clips.

Letters: B windows of a batch, T frames, H rows, W columns.
Input: windows of 15 of 90 frames of phantom clips at 350 x 350, in batches of 4 (B, T, H, W) uint8
at the stored size, each with a random start (Gare et al. 2022, section 3.2). The rival is PyAV
in a DataLoader of two workers, whose batches are equal bit for bit.
Then a store of 4,000 clips of 4 frames of 32 x 32 against one of 40 that is read a hundred times:
index, folds, the order of an epoch, and frames as a campaign reads them. And a stream from ten
times memory's share against one that would fit, the same number of windows from both.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lus_ray.bench.inputs import COLUMNS, EpochInputs, Reader, VideoSet, VideoWindows, make_videos
from lus_ray.bench.measure import Comparison, Run, refuse
from lus_ray.bench.reads import FEW, started_readers, stream_rows, transport_rows
from lus_ray.clip import frames_of, make_row, to_rows
from lus_ray.data import store as stores
from lus_ray.data.loading.resizing import CHUNK_CLIPS
from lus_ray.data.loading.sampler import sample_epoch
from lus_ray.data.loading.streaming import StreamedFrames
from lus_ray.data.transforms.view import View
from lus_ray.folds import rotating

NUM_TIMES = 5  # windows of every clip in an epoch; with one, its start-up would be most of it
NUM_FEWER = 100
SETTINGS: dict[str, Any] = {"batch": 4, "seed": 0}
TARGET_STREAMED = 5.0
TARGET_FLAT = 0.8  # 1 is flat; below this, a clip of the large store costs a quarter more
FULL: dict[str, Any] = {**FEW, "warmup": 0}  # the check is a whole run of each side
WINDOWS = ("windows", "windows, mapped", "windows, first epoch, decoding included")


def compare(
    *,
    num_clips: int = 8,
    num_frames: int = 90,
    size: int = 350,
    num_many: int = 4000,
    num_shares: int = 10,
) -> Iterator[tuple[str, Comparison]]:
    """Epochs of windows, clips of a large store, and a stream from `num_shares` times the clips."""
    view = View(num_frames=15, height=size, width=size)
    with make_videos(num_clips, num_frames, size) as video_set:
        video_set.rows.extend(video_set.rows * (NUM_TIMES - 1))
        inputs = EpochInputs(video_set, view, SETTINGS)
        windows = VideoWindows(video_set.videos, view)
        loaders: dict[str, Reader] = {"DataLoader, mp4": partial(inputs.new_loader, windows)}
        with started_readers(loaders) as started:
            yield from transport_rows(inputs, loaders, started, WINDOWS)
            yield from stream_rows(inputs, loaders, kind="windows", target=TARGET_STREAMED)
            yield from compare_stores(num_many)
            yield from compare_shares(inputs, num_shares)


def compare_stores(num_many: int) -> Iterator[tuple[str, Comparison]]:
    num_small = num_many // NUM_FEWER
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        write_tiny_clips(large, num_many)
        write_tiny_clips(small, num_small)
        rivals = {f"a store of {num_small}": partial(read_store, small, NUM_FEWER)}
        check = partial(check_counts, expected=4 * num_many, kind="frames")
        ours = partial(read_store, large, 1)
        yield f"{num_many} clips", Comparison(ours, rivals, check, TARGET_FLAT, **FULL)


def compare_shares(inputs: EpochInputs, num_shares: int) -> Iterator[tuple[str, Comparison]]:
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        copied, video_set = Path(folder), inputs.video_set
        write_copies(copied, video_set, num_shares)
        every = to_rows(stores.read_index(copied)) * NUM_TIMES
        large, small = (
            partial(count_windows, replace(inputs, video_set=replace(video_set, rows=rows)), store)
            for rows, store in ((every, copied), (video_set.rows * num_shares, video_set.store))
        )
        check = partial(check_counts, expected=len(every), kind="windows")
        yield (
            f"streamed from {num_shares} shares of memory",
            Comparison(large, {"a store of one share": small}, check, TARGET_FLAT, **FULL),
        )


def check_counts(ours: Run, theirs: Run, name: str, *, expected: int, kind: str) -> None:
    """Raise LusError if a side reads another number."""
    for num_read in (ours(), theirs()):
        if num_read != expected:
            refuse(f"clips: {num_read} {kind} were read of {expected}")


def read_store(store: Path, times: int) -> int:
    """Index, folds, an epoch's order, and all frames in chunks; the number of frames."""
    num_read = 0
    for number in range(times):
        index = stores.read_index(store)
        rows = to_rows(index)
        fold, *_ = rotating(4, stratify=None).assign(index, seed=number)
        assert None not in [fold.split_of(row["patient"]) for row in rows]
        sample_epoch(rows, epoch=number, **SETTINGS)
        located = [(row["clip"], row["shard"], row["row_group"], row["row"]) for row in rows]
        located.sort(key=lambda location: location[1:])
        for first in range(0, len(located), CHUNK_CLIPS):
            chunk = stores.read_located(store, located[first : first + CHUNK_CLIPS], COLUMNS)
            num_read += sum(len(frames_of(row)) for row in chunk)
    return num_read


def count_windows(inputs: EpochInputs, store: Path) -> int:
    """Stream an epoch from a store, with the search for its clips; the number of windows."""
    return sum(map(len, inputs.new_epochs(StreamedFrames(str(store)))()))


def write_tiny_clips(store: Path, num_clips: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    write_clips(store, ((f"folder/{number:06d}", frames) for number in range(num_clips)))


def write_copies(store: Path, video_set: VideoSet, times: int) -> None:
    clips = stores.read(video_set.store)
    named = ((f"{row['clip']}-{n}", frames_of(row)) for row in clips for n in range(times))
    write_clips(store, named)


def write_clips(store: Path, clips: Iterable[tuple[str, UInt8[np.ndarray, "T H W"]]]) -> None:
    with stores.Writer(store, "folder") as writer:
        for name, frames in clips:
            writer.add(make_row(frames, clip=name, patient=name, source="folder"))
