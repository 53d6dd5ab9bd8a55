"""Resize the frames and masks of a store's clips, some clips at a time."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8

from lus_ray.clip import frames_of, masks_of
from lus_ray.data.loading.batches import FrameSize, InMemory, view_of
from lus_ray.data.store import read_located
from lus_ray.storage.paths import PathOrUri

CHUNK_CLIPS = 16

ClipLocation = tuple[str, str, int, int]
"""The name of a clip, and its shard, row group and row."""


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
        resize = partial(resize_chunk, str(store), size=size, column=column)
        pending: deque[Future[dict[str, np.ndarray]]] = deque()
        for chunk in split_chunks(locations):
            pending.append(pool.submit(resize, chunk))
            if len(pending) > 2 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def split_chunks(locations: Sequence[ClipLocation]) -> list[Sequence[ClipLocation]]:
    return [locations[i : i + CHUNK_CLIPS] for i in range(0, len(locations), CHUNK_CLIPS)]


def resize_chunk(
    store: str, locations: Sequence[ClipLocation], size: FrameSize, column: str
) -> dict[str, np.ndarray]:
    view = view_of(size)
    rows = read_located(store, locations, ("clip", "height", "width", "mask_scheme", column))
    if column == "frames":
        return {row["clip"]: view.resize(frames_of(row)) for row in rows}
    masks = ((row["clip"], masks_of(row)) for row in rows)
    return {clip: view.resize_masks(ids) for clip, ids in masks if ids is not None}


def load_frames(
    store: PathOrUri, index: pa.Table, sizes: Iterable[FrameSize], masked: Iterable[FrameSize], *,
    num_threads: int,
) -> InMemory:  # fmt: skip
    """Every clip of the index in the memory of this process in each size, and its masks."""

    def load(size: FrameSize, column: str) -> dict[str, np.ndarray]:
        locations = locate(index, masked=column == "masks")
        chunks = resize_clips(store, locations, size, column, num_threads=num_threads)
        return {clip: pixels for chunk in chunks for clip, pixels in chunk.items()}

    return InMemory(
        {size: load(size, "frames") for size in sizes},
        {size: load(size, "masks") for size in masked},
    )
