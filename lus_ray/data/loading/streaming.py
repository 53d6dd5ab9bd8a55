"""Batches streamed from Parquet by Ray Data, for clips that do not fit in memory.

The order of an epoch is sampled first, so that a streamed epoch has the batches of one from memory.
Why rows of plain binary: Ray Data accounts for bytes.
"""

from collections.abc import Iterator, Sequence
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
from lus_ray.data.loading.batches import Epochs, convert_masks, stack_labels, take_frames
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms.view import View
from lus_ray.storage.paths import PathOrUri

FRAME_COLUMNS = ("clip", "height", "width", "frames")
MASK_COLUMNS = ("clip", "height", "width", "masks", "mask_scheme")
NUM_OPEN = 16
"""Shards that a process keeps open: reading a footer costs a quarter of reading a clip."""


@dataclass(frozen=True)
class StreamedFrames:
    """Frames read on demand from a store: a folder or a URI."""

    store: str

    @cached_property
    def locations(self) -> dict[str, tuple[str, str, int, int]]:
        """Clip, shard, row group and row of every clip, by its name."""
        return store.locate_clips(self.store)

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str],
        scheme: str | None = None, classes: Sequence[str] = (), **settings: Any,
    ) -> Epochs:  # fmt: skip
        locations = self.locations

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            sampled = sample_epoch(rows, epoch=epoch, classes=classes, **settings)
            items = [
                {
                    "locations": [list(map(str, locations[rows[s.row]["clip"]])) for s in specs],
                    "seeds": [s.seed for s in specs],
                    "chosen": [-1 if s.frame is None else s.frame for s in specs],
                }
                for specs in sampled
            ]
            arguments = {"store_path": self.store, "view": view, "with_masks": scheme is not None}
            dataset = _in_order(items).map(sample_batch, fn_kwargs=arguments)
            for specs, row in zip(sampled, dataset.iter_rows(), strict=True):
                batch = {"frames": torch.from_numpy(_unpack(row["frames"], view))}
                if scheme is not None:
                    ids = convert_masks(_unpack(row["masks"], view), specs, rows, scheme)
                    batch["masks"] = torch.from_numpy(np.stack(ids))
                yield batch | stack_labels(specs, rows, columns, classes)

        return batches

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All frames of each clip, read in this process a row group at a time."""
        return (view.resize(frames_of(row)) for row in self._read(rows, FRAME_COLUMNS))

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        for row in self._read(rows, MASK_COLUMNS):
            ids = masks_of(row)
            assert ids is not None
            yield view.resize_masks(ids)

    def _read(self, rows: Sequence[Row], columns: Sequence[str]) -> Iterator[Row]:
        locations = [self.locations[row["clip"]] for row in rows]
        return store.read_located(self.store, locations, columns, opened=_open_shard)


def sample_batch(
    item: dict[str, Any], *, store_path: str, view: View, with_masks: bool = False
) -> dict[str, Any]:
    """One batch of samples as bytes: uint8 (B, T, H, W) in row-major order, and its masks."""
    mask_columns = MASK_COLUMNS[-2:] if with_masks else ()
    stored = [(clip, shard, int(group), int(row)) for clip, shard, group, row in item["locations"]]
    specs = [
        SampleSpec(0, int(seed), None if frame < 0 else int(frame))
        for seed, frame in zip(item["seeds"], item["chosen"], strict=True)
    ]
    # In storage order, so that a row group is read once for all samples from it.
    numbers = sorted(range(len(specs)), key=lambda number: stored[number][1:])
    ordered = [stored[number] for number in numbers]
    columns = (*FRAME_COLUMNS, *mask_columns)
    rows = store.read_located(store_path, ordered, columns, opened=_open_shard)
    # Copied: a view of a row group would keep all of it in memory until the batch is complete.
    frames = np.empty((len(specs), view.num_frames, view.height, view.width), np.uint8)
    masks = np.empty_like(frames) if with_masks else None
    for number, row in zip(numbers, rows, strict=True):
        frames[number] = view.resize(take_frames(frames_of(row), view, specs[number]))
        if masks is not None:
            ids = masks_of(row)
            assert ids is not None
            masks[number] = view.resize_masks(take_frames(ids, view, specs[number]))
    packed = {"frames": frames.tobytes()}
    return packed if masks is None else packed | {"masks": masks.tobytes()}


@lru_cache(maxsize=NUM_OPEN)
def _open_shard(shard: PathOrUri) -> pq.ParquetFile:
    """A shard, kept open: another ingest into the store gives its shards other names."""
    return store.open_shard(shard)


def _unpack(packed: bytes, view: View) -> UInt8[np.ndarray, "B T H W"]:
    shape = (-1, view.num_frames, view.height, view.width)
    return np.frombuffer(packed, np.uint8).reshape(shape).copy()


def _in_order(items: list[dict[str, Any]]) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray.data.from_items(items, override_num_blocks=max(1, len(items)))
