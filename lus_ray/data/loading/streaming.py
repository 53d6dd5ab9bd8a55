"""Batches streamed from Parquet by Ray Data, for clips that do not fit in memory.

The order of an epoch is sampled first, so that a streamed epoch has the batches of one from memory.
Why rows of plain binary: Ray Data accounts for bytes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
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
Location = tuple[str, str, int, int]
BLOCK_BYTES, READ_BYTES = 16 << 20, 2 << 20
"""Samples of a block, and the least that a read counts for."""
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

        def batches(epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
            sampled = sample_epoch(rows, epoch=epoch, classes=classes, **settings)[start:]
            if not sampled:
                return
            reads = _plan_reads(sampled, by_frame=bool(settings.get("by_frame")))
            arguments = {"store_path": self.store, "view": view, "with_masks": scheme is not None}
            items = _to_blocks(reads, [locations[row["clip"]] for row in rows], view)
            dataset = _in_order(items).map(read_samples, fn_kwargs=arguments)
            waiting = _Waiting(reads, dataset, view)
            for specs in sampled:
                frames, ids = waiting.take(specs)
                batch = {"frames": torch.from_numpy(np.stack(frames))}
                if scheme is not None:
                    batch["masks"] = torch.from_numpy(
                        np.stack(convert_masks(ids, specs, rows, scheme))
                    )
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


def _plan_reads(
    sampled: Sequence[Sequence[SampleSpec]], *, by_frame: bool
) -> list[list[SampleSpec]]:
    """The samples of an epoch by the read that gives them, in the order of their first use.

    The frames of a clip are read at once, as a window keeps them together.
    """
    reads: dict[int, list[SampleSpec]] = {}
    for number, spec in enumerate(spec for specs in sampled for spec in specs):
        reads.setdefault(spec.row if by_frame else number, []).append(spec)
    return list(reads.values())


def _to_blocks(
    reads: Sequence[Sequence[SampleSpec]], locations: Sequence[Location], view: View
) -> list[dict[str, Any]]:
    """Reads in a row, up to about `BLOCK_BYTES` of samples in a block."""
    blocks: list[dict[str, Any]] = []
    size, left = view.num_frames * view.height * view.width, 0
    for specs in reads:
        if left <= 0:
            blocks.append({"locations": [], "seeds": [], "chosen": []})
            left = BLOCK_BYTES
        left -= max(size * len(specs), READ_BYTES)
        block = blocks[-1]
        block["locations"].append(list(map(str, locations[specs[0].row])))
        block["seeds"].append([spec.seed for spec in specs])
        block["chosen"].append([-1 if spec.frame is None else spec.frame for spec in specs])
    return blocks


class _Waiting:
    """Samples that were read and not yet used, by their read."""

    def __init__(
        self, reads: Sequence[Sequence[SampleSpec]], dataset: ray.data.Dataset, view: View
    ) -> None:
        self.read_of = {id(spec): number for number, own in enumerate(reads) for spec in own}
        self.reads, self.view = iter(reads), view
        batches = dataset.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2)
        self.blocks = iter(batches)
        self.samples: list[deque[tuple[np.ndarray, np.ndarray | None]]] = []

    def take(self, specs: Sequence[SampleSpec]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        frames, ids = [], []
        for spec in specs:
            number = self.read_of[id(spec)]
            while number >= len(self.samples):
                self._receive()
            own, mask = self.samples[number].popleft()
            frames.append(own)
            ids.append(mask)
        return frames, ids

    def _receive(self) -> None:
        block = next(self.blocks)
        lengths = block["lengths"][0].as_py()
        frames = _unpack(block["frames"][0], self.view)
        masks = _unpack(block["masks"][0], self.view) if "masks" in block.column_names else None
        start = 0
        for length in lengths:
            part = range(start, start + length)
            self.samples.append(
                deque((frames[i], None if masks is None else masks[i]) for i in part)
            )
            start += length


def read_samples(
    item: dict[str, Any], *, store_path: str, view: View, with_masks: bool = False
) -> dict[str, Any]:
    """The samples of a block as bytes: uint8 (B, T, H, W) in row-major order, and their masks."""
    mask_columns = MASK_COLUMNS[-2:] if with_masks else ()
    stored = [(clip, shard, int(group), int(row)) for clip, shard, group, row in item["locations"]]
    lengths = [len(seeds) for seeds in item["seeds"]]
    starts = np.cumsum([0, *lengths])
    # In storage order, so that a row group is read once for all clips in it.
    numbers = sorted(range(len(stored)), key=lambda number: stored[number][1:])
    columns = (*FRAME_COLUMNS, *mask_columns)
    ordered = [stored[number] for number in numbers]
    rows = store.read_located(store_path, ordered, columns, opened=_open_shard)
    # Copied: a view of a row group would keep all of it in memory until the block is complete.
    shape = (starts[-1], view.num_frames, view.height, view.width)
    frames = np.empty(shape, np.uint8)
    masks = np.empty_like(frames) if with_masks else None
    for number, row in zip(numbers, rows, strict=True):
        pixels, ids = frames_of(row), masks_of(row) if masks is not None else None
        chosen = zip(item["seeds"][number], item["chosen"][number], strict=True)
        for place, (seed, frame) in enumerate(chosen, starts[number]):
            spec = SampleSpec(0, int(seed), None if frame < 0 else int(frame))
            frames[place] = view.resize(take_frames(pixels, view, spec))
            if masks is not None:
                assert ids is not None
                masks[place] = view.resize_masks(take_frames(ids, view, spec))
    packed: dict[str, Any] = {"lengths": lengths, "frames": frames.tobytes()}
    return packed if masks is None else packed | {"masks": masks.tobytes()}


@lru_cache(maxsize=NUM_OPEN)
def _open_shard(shard: PathOrUri) -> pq.ParquetFile:
    """A shard, kept open: another ingest into the store gives its shards other names."""
    return store.open_shard(shard)


def _unpack(packed: pa.Scalar, view: View) -> UInt8[np.ndarray, "B T H W"]:
    """Copied: a view would keep the block in the object store."""
    shape = (-1, view.num_frames, view.height, view.width)
    return np.frombuffer(packed.as_buffer(), np.uint8).reshape(shape).copy()


def _in_order(items: list[dict[str, Any]]) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray.data.from_items(items, override_num_blocks=max(1, len(items)))
