"""Resized frames and masks in Ray's object store, decoded once and shared by every cell.

Why: all cells of a campaign read the same clips at one or two sizes.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from jaxtyping import UInt8

from lus_ray.clip import frames_of, masks_of
from lus_ray.data.loading.batches import FrameSize, InMemory, view_of
from lus_ray.data.store import read_located
from lus_ray.storage.paths import PathOrUri

CHUNK_CLIPS = 16
SHARE = 0.5
"""The part of the object store that resized frames may fill; more goes to mapped files."""

ClipLocation = tuple[str, str, int, int]
"""The name of a clip, and its shard, row group and row."""

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


def locate(index: pa.Table, *, masked: bool = False) -> list[ClipLocation]:
    """The locations of all clips, or of all clips with masks, in storage order."""
    if masked:
        index = index.filter(index["mask_scheme"].is_valid())
    names = ("clip", "shard", "row_group", "row")
    locations = list(zip(*(index[name].to_pylist() for name in names), strict=True))
    return sorted(locations, key=lambda location: location[1:])


def resize_clips(
    store: PathOrUri,
    locations: Sequence[ClipLocation],
    size: FrameSize,
    column: str,
    *,
    num_threads: int,
) -> Iterator[dict[str, UInt8[np.ndarray, "N H W"]]]:
    """Frames or masks of the clips in order; about two chunks per thread are in memory."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # each thread resizes on a CPU of its own
    pool = ThreadPoolExecutor(num_threads)
    try:
        resize = partial(_resize, str(store), size=size, column=column)
        pending: deque[Future[dict[str, np.ndarray]]] = deque()
        for chunk in _chunks(locations):
            pending.append(pool.submit(resize, chunk))
            if len(pending) > 2 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


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
    resize = ray.remote(num_cpus=0, memory=_memory_per_task())(_resize)
    return [resize.remote(str(store), chunk, size, column) for chunk in _chunks(locations)]


def _chunks(locations: Sequence[ClipLocation]) -> list[Sequence[ClipLocation]]:
    return [locations[i : i + CHUNK_CLIPS] for i in range(0, len(locations), CHUNK_CLIPS)]


def _memory_per_task() -> int:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    per_cpu = [node.get("memory", 0) / max(1, node.get("CPU", 0)) for node in nodes]
    return int(0.9 * min((memory for memory in per_cpu if memory), default=0))


def _attach_chunks(chunks: Chunks) -> dict[FrameSize, dict[str, np.ndarray]]:
    return {
        size: {clip: pixels for chunk in ray.get(references) for clip, pixels in chunk.items()}
        for size, references in chunks.items()
    }


def _resize(
    store: str, locations: Sequence[ClipLocation], size: FrameSize, column: str
) -> dict[str, np.ndarray]:
    view = view_of(size)
    rows = read_located(store, locations, ("clip", "height", "width", "mask_scheme", column))
    if column == "frames":
        return {row["clip"]: view.resize(frames_of(row)) for row in rows}
    masks = ((row["clip"], masks_of(row)) for row in rows)
    return {clip: view.resize_masks(ids) for clip, ids in masks if ids is not None}
