"""Clips from Parquet as samples, streamed by Ray Data where they do not fit in memory.

The order of an epoch is dealt first (`draws.order`); Ray Data then reads, resizes and samples
the clips of each batch in tasks of its own, in that order. So a streamed epoch has the same
batches as one from memory, nothing is shuffled inside a worker, and no clip leaves its Parquet
file before its turn.
Why rows of plain binary: Ray Data accounts for bytes, and a block holds nothing but bytes,
numbers and names.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray.data
import torch
from jaxtyping import UInt8
from ray.data import DataContext
from torch import Tensor

from lus_ray.clip import Row, frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.loading.batches import Draw, in_scheme, labels, order, sample
from lus_ray.data.transforms.view import View
from lus_ray.storage.paths import PathOrUri

COLUMNS = ("clip", "height", "width", "frames")
OUTLINED = ("clip", "height", "width", "masks", "mask_scheme")
NUM_OPEN = 16
"""Shards that a process keeps open: the footer of one costs a quarter of a clip."""


@dataclass(frozen=True)
class Streamed:
    """Frames read from a store, a folder or a URI, as needed."""

    store: str

    @cached_property
    def places(self) -> dict[str, tuple[str, str, int, int]]:
        """Clip, shard, row group and row of every clip, by its name."""
        return store.places(self.store)

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str],
        scheme: str | None = None, **settings: Any,
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:  # fmt: skip
        """See `Pixels.epochs`: one Ray Data pipeline an epoch, of which one row is one batch."""
        where = self.places

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            drawn = order(rows, epoch=epoch, **settings)
            items = [
                {
                    "places": [list(map(str, where[rows[d.row]["clip"]])) for d in draws],
                    "seeds": [d.seed for d in draws],
                    "chosen": [-1 if d.frame is None else d.frame for d in draws],
                }
                for draws in drawn
            ]
            given = {"store_path": self.store, "view": view, "with_masks": scheme is not None}
            dataset = _ordered(items).map(sampled, fn_kwargs=given)
            for draws, row in zip(drawn, dataset.iter_rows(), strict=True):
                batch = {"frames": torch.from_numpy(_unpacked(row["frames"], view))}
                if scheme is not None:
                    ids = in_scheme(_unpacked(row["masks"], view), draws, rows, scheme)
                    batch["masks"] = torch.from_numpy(np.stack(ids))
                yield batch | labels(draws, rows, columns)

        return batches

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.clips`: read in this process, a row group at a time."""
        for row in self._read(rows, COLUMNS):
            yield view.resize(frames_of(row))

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.masks`: read in this process, a row group at a time."""
        for row in self._read(rows, OUTLINED):
            ids = masks_of(row)
            assert ids is not None
            yield view.resize_masks(ids)

    def _read(self, rows: Sequence[Row], columns: Sequence[str]) -> Iterator[Row]:
        places = [self.places[row["clip"]] for row in rows]
        return store.read_located(self.store, places, columns, opened=_opened)


def sampled(
    item: dict[str, Any], *, store_path: str, view: View, with_masks: bool = False
) -> dict[str, Any]:
    """One batch of samples as bytes: uint8 (B, T, H, W) in row-major order, and its masks."""
    with_ids = OUTLINED[-2:] if with_masks else ()
    located = [(clip, shard, int(group), int(row)) for clip, shard, group, row in item["places"]]
    draws = [
        Draw(0, int(seed), None if frame < 0 else int(frame))
        for seed, frame in zip(item["seeds"], item["chosen"], strict=True)
    ]
    # In the order in which they lie, so that a row group is read once for all draws from it.
    by_place = sorted(range(len(draws)), key=lambda number: located[number][1:])
    places = [located[number] for number in by_place]
    rows = store.read_located(store_path, places, (*COLUMNS, *with_ids), opened=_opened)
    # Copied, as what is only a view of a row group would hold it until the batch is whole.
    samples = np.empty((len(draws), view.num_frames, view.height, view.width), np.uint8)
    outlined = np.empty_like(samples) if with_masks else None
    for number, row in zip(by_place, rows, strict=True):
        samples[number] = view.resize(sample(frames_of(row), view, draws[number]))
        if outlined is not None:
            ids = masks_of(row)
            assert ids is not None
            outlined[number] = view.resize_masks(sample(ids, view, draws[number]))
    packed = {"frames": samples.tobytes()}
    return packed if outlined is None else packed | {"masks": outlined.tobytes()}


@lru_cache(maxsize=NUM_OPEN)
def _opened(shard: PathOrUri) -> pq.ParquetFile:
    """A shard, kept open: another ingest into the store gives its shards other names."""
    return store.open_file(shard)


def _unpacked(packed: bytes, view: View) -> UInt8[np.ndarray, "B T H W"]:
    shape = (-1, view.num_frames, view.height, view.width)
    return np.frombuffer(packed, np.uint8).reshape(shape).copy()


def _ordered(items: list[dict[str, Any]]) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray.data.from_items(items, override_num_blocks=max(1, len(items)))
