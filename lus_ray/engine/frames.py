"""Decode once, share with every cell: resized frames and masks in Ray's object store.

Why: all cells of a campaign read the same clips at one or two sizes. Parquet is read and resized
once, on as many CPUs as there are, and each trial maps the same memory without a copy.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from lus_ray.batches import InMemory, Size, view_of
from lus_ray.clip import frames_of, masks_of
from lus_ray.places import Place
from lus_ray.store import read_located

CHUNK_CLIPS = 16
SHARE = 0.5
"""The part of the object store that resized frames may fill; beyond it clips are streamed."""

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
    store: Place, index: pa.Table, sizes: Iterable[Size], masked: Iterable[Size] = ()
) -> Shared:
    """Every clip of the index in each size, and its masks.

    On one machine they are resized here, by threads: a task is a process that takes seconds to
    import what this one has. On several, tasks resize them, and this returns at once.
    """
    resized = _by_tasks if sum(node["Alive"] for node in ray.nodes()) > 1 else _here
    names = ("clip", "shard", "row_group", "row")
    places = list(zip(*(index[name].to_pylist() for name in names), strict=True))
    outlined = dict(zip(index["clip"].to_pylist(), index["mask_scheme"].to_pylist(), strict=True))
    places.sort(key=lambda place: place[1:])
    with_masks = [place for place in places if outlined[place[0]] is not None]
    return Shared(
        {size: resized(store, places, size, "frames") for size in sizes},
        {size: resized(store, with_masks, size, "masks") for size in masked},
    )


def attach(shared: Shared) -> InMemory:
    """The frames and masks of all clips, mapped into this process; waits for tasks."""
    return InMemory(_attached(shared.frames), _attached(shared.masks))


def num_bytes(num_frames: int, sizes: Iterable[Size], masked: Iterable[Size] = ()) -> int:
    """What `share` will hold, if every frame has a mask."""
    return sum(num_frames * size[0] * size[1] for size in (*sizes, *masked))


def _here(store: Place, places: Sequence[Any], size: Size, column: str) -> list[Any]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each thread resizes on a CPU of its own
    pool = ThreadPoolExecutor(max(1, int(ray.cluster_resources().get("CPU", 1))))
    try:
        resize = partial(_resize, str(store), size=size, column=column)
        return [ray.put(chunk) for chunk in pool.map(resize, _chunks(places))]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)


def _by_tasks(store: Place, places: Sequence[Any], size: Size, column: str) -> list[Any]:
    # No CPU: trials may hold all of them while they wait for frames that were lost with a node.
    # Memory instead, so that no node resizes more chunks at a time than it has CPUs.
    resize = ray.remote(num_cpus=0, memory=_memory())(_resize)
    return [resize.remote(str(store), chunk, size, column) for chunk in _chunks(places)]


def _chunks(places: Sequence[Any]) -> list[Sequence[Any]]:
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
    store: str, places: Sequence[tuple[str, str, int, int]], size: Size, column: str
) -> dict[str, np.ndarray]:
    view = view_of(size)
    rows = read_located(store, places, ("clip", "height", "width", "mask_scheme", column))
    if column == "frames":
        return {row["clip"]: view.resize(frames_of(row)) for row in rows}
    outlined = ((row["clip"], masks_of(row)) for row in rows)
    return {clip: view.resize_masks(ids) for clip, ids in outlined if ids is not None}
