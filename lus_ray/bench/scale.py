"""What should not grow with a store: the cost of a clip, and the memory of a stream.

A clip of a store of 10,000 clips should cost what one of 100 clips costs: the index, folds and the
sides of one, the order of an epoch, and reading frames as tasks of a campaign do. The rival is a
small store on which the same is done a hundred times over. Clips of 4 frames of 32 x 32: what is
measured is what a clip costs beside its pixels.
A store of ten times memory's share should be streamed as one that would fit: the same number of
windows from both. What counts is the column of MiB; the time is there to see that nothing is paid
for it. Both are streamed, which is how a campaign reads what exceeds its share.
"""

import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.bench.inputs import Footage
from lus_ray.bench.measure import Measured, interleaved
from lus_ray.clip import frames_of, make_row
from lus_ray.data import store as stores
from lus_ray.data.loading.sampler import sample_epoch
from lus_ray.data.loading.shared_memory import CHUNK_CLIPS
from lus_ray.data.loading.streaming import StreamedFrames
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.folds import rotating

MANY, NUM_FEWER = 10_000, 100
NUM_SHARES = 10
TARGET = 0.8
"""A ratio of one is flat; below this, a clip of the large store costs a quarter more."""

COLUMNS = ("clip", "height", "width", "frames")
SETTINGS: dict[str, Any] = {"batch": 4, "seed": 0}


def measure(
    films: Footage, view: View, repeats: int, *, many: int = MANY, num_shares: int = NUM_SHARES
) -> dict[str, Measured]:
    """A clip of many, and a stream from a store of `num_shares` times these clips."""
    few = max(1, repeats // 2)
    many = many // NUM_FEWER * NUM_FEWER
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        write_tiny(large, many)
        write_tiny(small, many // NUM_FEWER)
        for store, times in ((large, 1), (small, NUM_FEWER)):
            check_count(through(store, times), 4 * many, "frames")
        flat = interleaved(
            partial(through, large, 1),
            {f"a store of {many // NUM_FEWER}": partial(through, small, NUM_FEWER)},
            repeats=few,
            warmup=1,
            target=TARGET,
        )
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        copied = Path(folder)
        write_copies(copied, films, num_shares)
        num_windows = num_shares * len(films.index)
        stream = partial(streamed, view=view, num_windows=num_windows)
        for store in (copied, films.store):
            check_count(stream(store, epochs=count()), num_windows, "windows")
        streaming = interleaved(
            partial(stream, copied, epochs=count()),
            {"a store of one share": partial(stream, films.store, epochs=count())},
            repeats=few,
            warmup=1,
            target=TARGET,
            children=True,
        )
    return {
        f"{many} clips": flat,
        f"streamed from {num_shares} shares of memory": streaming,
    }


def through(store: Path, times: int) -> int:
    """Index, folds, an epoch's order, and all frames, in chunks as a campaign shares them."""
    num_read = 0
    for number in range(times):
        index = stores.read_index(store)
        rows = index.to_pylist()
        fold, *_ = rotating(4, stratify=None).assign(index, seed=number)
        sides = [fold.split_of(row["patient"]) for row in rows]
        assert None not in sides
        sample_epoch(rows, epoch=number, **SETTINGS)
        places = sorted(
            ((row["clip"], row["shard"], row["row_group"], row["row"]) for row in rows),
            key=lambda place: place[1:],
        )
        for first in range(0, len(places), CHUNK_CLIPS):
            chunk = places[first : first + CHUNK_CLIPS]
            num_read += sum(
                len(frames_of(row)) for row in stores.read_located(store, chunk, COLUMNS)
            )
    return num_read


def check_count(found: int, expected: int, what: str) -> None:
    """Refuse to compare runs that do not read all that they should.

    Raises:
        LusError: says how many were read.
    """
    if found != expected:
        raise LusError(f"clips: {found} {what} were read of {expected}; no ratio is given")


def streamed(store: Path, *, view: View, num_windows: int, epochs: "count[int]") -> int:
    """So many windows from a store by Ray Data, every clip equally often."""
    rows = stores.read_index(store).to_pylist()
    rows = rows * (num_windows // len(rows))
    batches = StreamedFrames(str(store)).epochs(rows, view=view, columns=(), **SETTINGS)
    return sum(len(batch["frames"]) for batch in batches(next(epochs)))


def write_tiny(store: Path, num_clips: int) -> None:
    """Clips of 4 frames of 32 x 32, each of its own patient."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 32, 32), np.uint8)
    with stores.Writer(store, "tiny") as writer:
        for number in range(num_clips):
            name = f"tiny/{number:06d}"
            writer.add(make_row(frames, clip=name, patient=name, source="tiny"))


def write_copies(store: Path, films: Footage, times: int) -> None:
    """The clips of a store so many times over, under names of their own."""
    with stores.Writer(store, "folder") as writer:
        for row in stores.read(films.store):
            frames = frames_of(row)
            for number in range(times):
                name = f"{row['clip']}-{number}"
                writer.add(make_row(frames, clip=name, patient=name, source="folder"))
