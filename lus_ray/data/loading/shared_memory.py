"""Resized frames and masks in Ray's object store, decoded once and shared by every cell.

Why: all cells of a campaign read the same clips at one or two sizes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from lus_ray.data.loading.batches import FrameSize, InMemory
from lus_ray.data.loading.resizing import (
    ClipLocation,
    locate,
    resize_chunk,
    resize_clips,
    split_chunks,
)
from lus_ray.storage.paths import PathOrUri

SHARE = 0.5
"""The part of the object store that resized frames may fill; more goes to mapped files."""

Chunks = dict[FrameSize, list[Any]]
"""Object references of chunks of clips, by the size of a view."""


@dataclass(frozen=True)
class SharedFrames:
    """References to the resized frames and masks of all clips."""

    frames: Chunks
    masks: Chunks

    def __hash__(self) -> int:
        return hash(tuple(map(tuple, (*self.frames.values(), *self.masks.values()))))


def share_frames(
    store: PathOrUri, index: pa.Table, sizes: Iterable[FrameSize], masked: Iterable[FrameSize] = ()
) -> SharedFrames:
    """Put every clip of the index into the object store in each size, and its masks.

    Threads of this process resize them on one machine, as a task takes seconds to start; on several
    machines tasks do, and this returns at once.
    """
    put = _put_by_tasks if sum(node["Alive"] for node in ray.nodes()) > 1 else _put_here
    return SharedFrames(
        {size: put(store, locate(index), size, "frames") for size in sizes},
        {size: put(store, locate(index, masked=True), size, "masks") for size in masked},
    )


def attach(shared: SharedFrames) -> InMemory:
    """The frames and masks of all clips, mapped into this process; waits for tasks."""
    return InMemory(_attach_chunks(shared.frames), _attach_chunks(shared.masks))


def count_bytes(
    num_frames: int, sizes: Iterable[FrameSize], masked: Iterable[FrameSize] = ()
) -> int:
    """Bytes that `share_frames` fills if every frame has a mask."""
    return sum(num_frames * size[0] * size[1] for size in (*sizes, *masked))


def _put_here(
    store: PathOrUri, locations: Sequence[ClipLocation], size: FrameSize, column: str
) -> list[Any]:
    num_threads = max(1, int(ray.cluster_resources().get("CPU", 1)))
    chunks = resize_clips(store, locations, size, column, num_threads=num_threads)
    return [ray.put(chunk) for chunk in chunks]


def _put_by_tasks(
    store: PathOrUri, locations: Sequence[ClipLocation], size: FrameSize, column: str
) -> list[Any]:
    # No CPU: trials may hold all of them while they wait for frames that were lost with a node.
    # Memory instead, so that no node resizes more chunks at a time than it has CPUs.
    resize = ray.remote(num_cpus=0, memory=_memory_per_task())(resize_chunk)
    return [resize.remote(str(store), chunk, size, column) for chunk in split_chunks(locations)]


def _memory_per_task() -> int:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    per_cpu = [node.get("memory", 0) / max(1, node.get("CPU", 0)) for node in nodes]
    return int(0.9 * min((memory for memory in per_cpu if memory), default=0))


def _attach_chunks(chunks: Chunks) -> dict[FrameSize, dict[str, np.ndarray]]:
    return {
        size: {clip: pixels for chunk in ray.get(references) for clip, pixels in chunk.items()}
        for size, references in chunks.items()
    }
