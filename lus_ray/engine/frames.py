"""Decode once, share with every cell: resized frames in Ray's object store.

Why: all cells of a campaign read the same clips at one or two sizes. Parquet is read and resized
by as many tasks as there are CPUs, and each trial maps the same memory without a copy.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from lus_ray.batches import InMemory
from lus_ray.clip import frames_of
from lus_ray.store import read_located
from lus_ray.views import View

CHUNK_CLIPS = 16
SHARE = 0.5
"""The part of the object store that resized frames may fill; beyond it clips are streamed."""

Shared = dict[tuple[int, int], list[Any]]
"""Object references of chunks by size (height, width)."""


def share(store: Path, index: pa.Table, sizes: Iterable[tuple[int, int]]) -> Shared:
    """Start resizing every clip of the index to each size; returns at once."""
    names = ("clip", "shard", "row_group", "row")
    places = list(zip(*(index[name].to_pylist() for name in names), strict=True))
    places.sort(key=lambda place: place[1:])
    chunks = [places[i : i + CHUNK_CLIPS] for i in range(0, len(places), CHUNK_CLIPS)]
    resize = ray.remote(_resize)
    return {size: [resize.remote(str(store), chunk, size) for chunk in chunks] for size in sizes}


def attach(shared: Shared) -> InMemory:
    """The frames of all clips, mapped into this process; waits until they are resized."""
    frames: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for size, chunks in shared.items():
        frames[size] = {}
        for chunk in ray.get(chunks):
            frames[size].update(chunk)
    return InMemory(frames)


def num_bytes(num_frames: int, sizes: Iterable[tuple[int, int]]) -> int:
    """What `share` will hold."""
    return sum(num_frames * height * width for height, width in sizes)


def _resize(
    store: str, places: Sequence[tuple[str, str, int, int]], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    view = View(height=size[0], width=size[1])
    columns = ("clip", "height", "width", "frames")
    rows = read_located(store, places, columns)
    return {row["clip"]: view.resize(frames_of(row)) for row in rows}
