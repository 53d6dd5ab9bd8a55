"""Decode once, share with every cell: resized frames and masks in Ray's object store.

Why: all cells of a campaign read the same clips at one or two sizes. Parquet is read and resized
once, on as many CPUs as there are, and each trial maps the same memory without a copy.
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
from lus_ray.data.loading.batches import InMemory, Size, view_of
from lus_ray.data.store import read_located
from lus_ray.storage.paths import PathOrUri

CHUNK_CLIPS = 16
SHARE = 0.5
"""The part of the object store that resized frames may fill; beyond it see `engine.mapped`."""

Located = tuple[str, str, int, int]
"""A clip: its name, and the shard, row group and row where it lies."""

Chunks = dict[Size, list[Any]]
"""Object references of chunks of clips, by the size of a view."""


@dataclass(frozen=True)
class Shared:
    """Where the resized frames and masks of all clips lie."""

    frames: Chunks
    masks: Chunks

    @property
    def names(self) -> tuple[Any, ...]:
        """Equal for equal references."""
        return tuple(
            (kind, size, tuple(reference.hex() for reference in references))
            for kind, chunks in (("frames", self.frames), ("masks", self.masks))
            for size, references in chunks.items()
        )


def share(
    store: PathOrUri, index: pa.Table, sizes: Iterable[Size], masked: Iterable[Size] = ()
) -> Shared:
    """Every clip of the index in each size, and its masks.

    On one machine they are resized here, by threads: a task is a process that takes seconds to
    import what this one has. On several, tasks resize them, and this returns at once.
    """
    put = _by_tasks if sum(node["Alive"] for node in ray.nodes()) > 1 else _here
    return Shared(
        {size: put(store, places(index), size, "frames") for size in sizes},
        {size: put(store, places(index, masked=True), size, "masks") for size in masked},
    )


def places(index: pa.Table, *, masked: bool = False) -> list[Located]:
    """Where every clip lies, or every clip with masks, in the order in which they lie there."""
    if masked:
        index = index.filter(index["mask_scheme"].is_valid())
    names = ("clip", "shard", "row_group", "row")
    found = list(zip(*(index[name].to_pylist() for name in names), strict=True))
    return sorted(found, key=lambda place: place[1:])


def resized(
    store: PathOrUri, places: Sequence[Located], size: Size, column: str, *, num_threads: int
) -> Iterator[dict[str, UInt8[np.ndarray, "N H W"]]]:
    """Frames or masks of the clips in order, some clips at a time, by threads of this process.

    No more chunks than twice the threads are held at a time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # each thread resizes on a CPU of its own
    pool = ThreadPoolExecutor(num_threads)
    try:
        resize = partial(_resize, str(store), size=size, column=column)
        waiting: deque[Future[dict[str, np.ndarray]]] = deque()
        for chunk in _chunks(places):
            waiting.append(pool.submit(resize, chunk))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def attach(shared: Shared) -> InMemory:
    """The frames and masks of all clips, mapped into this process; waits for tasks."""
    return InMemory(_attached(shared.frames), _attached(shared.masks))


def num_bytes(num_frames: int, sizes: Iterable[Size], masked: Iterable[Size] = ()) -> int:
    """What `share` will hold, if every frame has a mask."""
    return sum(num_frames * size[0] * size[1] for size in (*sizes, *masked))


def _here(store: PathOrUri, places: Sequence[Located], size: Size, column: str) -> list[Any]:
    num_threads = max(1, int(ray.cluster_resources().get("CPU", 1)))
    chunks = resized(store, places, size, column, num_threads=num_threads)
    return [ray.put(chunk) for chunk in chunks]


def _by_tasks(store: PathOrUri, places: Sequence[Located], size: Size, column: str) -> list[Any]:
    # No CPU: trials may hold all of them while they wait for frames that were lost with a node.
    # Memory instead, so that no node resizes more chunks at a time than it has CPUs.
    resize = ray.remote(num_cpus=0, memory=_memory())(_resize)
    return [resize.remote(str(store), chunk, size, column) for chunk in _chunks(places)]


def _chunks(places: Sequence[Located]) -> list[Sequence[Located]]:
    return [places[i : i + CHUNK_CLIPS] for i in range(0, len(places), CHUNK_CLIPS)]


def _memory() -> int:
    """Bytes for one task, of which the smallest node has room for about one a CPU."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    each = [r.get("memory", 0) / max(1, r.get("CPU", 0)) for r in found]
    return int(0.9 * min((share for share in each if share), default=0))


def _attached(chunks: Chunks) -> dict[Size, dict[str, np.ndarray]]:
    found: dict[Size, dict[str, np.ndarray]] = {}
    for size, references in chunks.items():
        found[size] = {}
        for chunk in ray.get(references):
            found[size].update(chunk)
    return found


def _resize(
    store: str, places: Sequence[Located], size: Size, column: str
) -> dict[str, np.ndarray]:
    view = view_of(size)
    rows = read_located(store, places, ("clip", "height", "width", "mask_scheme", column))
    if column == "frames":
        return {row["clip"]: view.resize(frames_of(row)) for row in rows}
    outlined = ((row["clip"], masks_of(row)) for row in rows)
    return {clip: view.resize_masks(ids) for clip, ids in outlined if ids is not None}
