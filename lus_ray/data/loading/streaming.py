"""Batches streamed from Parquet by Ray Data, for clips that do not fit in memory.

The order of an epoch is sampled first, so that a streamed epoch has the batches of one from memory.
Samples are read in blocks in the order of their first use, each clip of a window once. Threads of
this process read the first blocks of an epoch while Ray Data starts, which takes a third of a
second. Ray Data reads the others ahead, as far as its memory allows, and the threads go on with
every second block: what one process hands to another costs twice the CPU time.
Why a block is one row of binary: Ray Data accounts for bytes, and nothing is copied on the way.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, islice
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
from lus_ray.data.loading.batches import Epochs, convert_masks, frame_numbers, stack_labels
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms.view import View
from lus_ray.storage.paths import PathOrUri, is_remote

FRAME_COLUMNS = ("clip", "height", "width", "frames")
MASK_COLUMNS = ("clip", "height", "width", "masks", "mask_scheme")
PLACE = ("clip", "shard", "row_group", "row")
Location = tuple[str, str, int, int]
Read = list[tuple[tuple[int, int], SampleSpec]]
"""Samples of one clip, each with its batch and its place there."""
BLOCK_BYTES, READ_BYTES = 16 << 20, 2 << 20
"""Samples of a block, and the least that a read counts for."""
SMALL_BLOCKS, OWN_BLOCKS, OWN_SHARE = 3, 8, 2
"""The first blocks of an epoch: each half of the next one; read before Ray Data has started; and
one in so many of the others, which this process reads as well."""
OWN_READS, REMOTE_READS = 2, 4
"""Blocks that this process reads at a time; more from object storage, where reads mostly wait."""
NUM_OPEN = 64
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
        locations = [self.locations[row["clip"]] for row in rows]
        by_frame = bool(settings.get("by_frame"))

        def batches(epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
            sampled = sample_epoch(rows, epoch=epoch, classes=classes, **settings)[start:]
            reads = _plan_reads(sampled, by_frame=by_frame)
            blocks = _read_blocks(
                _to_blocks(reads, view), locations,
                store_path=self.store, view=view, with_masks=scheme is not None,
            )  # fmt: skip
            filled = _fill_batches(reads, blocks, list(map(len, sampled)), view)
            for specs, read in zip(sampled, filled, strict=True):
                batch = {"frames": torch.from_numpy(read["frames"])}
                if scheme is not None:
                    ids = convert_masks(read["masks"], specs, rows, scheme)
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


def _plan_reads(sampled: Sequence[Sequence[SampleSpec]], *, by_frame: bool) -> list[Read]:
    """The samples of an epoch by the read that gives them, in the order of their first use.

    The frames of a clip are read at once, as a window keeps them together.
    """
    reads: dict[int, Read] = {}
    for batch, specs in enumerate(sampled):
        for place, spec in enumerate(specs):
            number = spec.row if by_frame else len(reads)
            reads.setdefault(number, []).append(((batch, place), spec))
    return list(reads.values())


def _to_blocks(reads: Sequence[Read], view: View) -> list[list[Read]]:
    """Reads one after another, up to about `BLOCK_BYTES` of samples in a block.

    The first blocks are smaller, for an early first batch.
    """
    blocks: list[list[Read]] = []
    size, left = view.num_frames * view.height * view.width, 0
    for read in reads:
        if left <= 0:
            left = BLOCK_BYTES >> max(0, SMALL_BLOCKS - len(blocks))
            blocks.append([])
        left -= max(size * len(read), READ_BYTES)
        blocks[-1].append(read)
    return blocks


def _describe(block: Sequence[Read], locations: Sequence[Location]) -> dict[str, Any]:
    """What a process needs to read a block."""
    rows = [read[0][1].row for read in block]
    return {
        "clips": [dict(zip(PLACE, locations[row], strict=True)) for row in rows],
        "seeds": [[spec.seed for _, spec in read] for read in block],
        "frames": [[spec.frame for _, spec in read] for read in block],
    }


def _fill_batches(
    reads: Sequence[Read], blocks: Iterator[pa.Table], sizes: Sequence[int], view: View
) -> Iterator[dict[str, UInt8[np.ndarray, "B T H W"]]]:
    """Frames and masks of batches of these sizes; a sample is copied from its block to its place.

    Why at once: a view of a block would keep it in Ray's object store as long as the window.
    """
    shape = (view.num_frames, view.height, view.width)
    places = (place for read in reads for place, _ in read)
    missing, filling = list(sizes), dict[int, dict[str, np.ndarray]]()
    for number in range(len(sizes)):
        while missing[number]:
            block = next(blocks)
            samples = {name: _unpack(block[name], shape) for name in block.column_names}
            for source, (batch, place) in enumerate(islice(places, len(samples["frames"]))):
                if batch not in filling:
                    new = {name: np.empty((sizes[batch], *shape), np.uint8) for name in samples}
                    filling[batch] = new
                for name, images in samples.items():
                    filling[batch][name][place] = images[source]
                missing[batch] -= 1
        yield filling.pop(number)


def _read_blocks(
    blocks: Sequence[Sequence[Read]], locations: Sequence[Location], *, store_path: str,
    **arguments: Any,
) -> Iterator[pa.Table]:  # fmt: skip
    """The blocks of an epoch in order, some read by threads of this process, some by Ray Data.

    Ray Data starts after the first blocks, as its start would delay them.
    """
    num_ahead = REMOTE_READS if is_remote(store_path) else OWN_READS
    is_own = [number < OWN_BLOCKS or number % OWN_SHARE == 0 for number in range(len(blocks))]
    own = (block for block, mine in zip(blocks, is_own, strict=True) if mine)
    others = [block for block, mine in zip(blocks, is_own, strict=True) if not mine]
    arguments["store_path"] = store_path

    def start() -> Iterator[pa.Table]:
        plan = pa.Table.from_pylist([_describe(block, locations) for block in others])
        return _read_with_ray(plan, arguments)

    def read(block: Sequence[Read]) -> pa.Table:
        return read_samples(_describe(block, locations), **arguments)

    with ThreadPoolExecutor(num_ahead + 1) as threads:
        rest, ahead = None, deque(threads.submit(read, block) for block in islice(own, num_ahead))
        for number, mine in enumerate(is_own):
            if rest is None and others and (number == SMALL_BLOCKS or not mine):
                rest = threads.submit(start)
            if rest is not None and not mine:
                yield next(rest.result())
                continue
            done = ahead.popleft().result()
            ahead.extend(threads.submit(read, block) for block in islice(own, 1))
            yield done


def _read_with_ray(plan: pa.Table, arguments: dict[str, Any]) -> Iterator[pa.Table]:
    """The blocks of a plan in order; returns when the first is there."""
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    numbers = ray.data.range(len(plan), override_num_blocks=len(plan))
    dataset = numbers.map_batches(
        read_block, batch_size=None, batch_format="pyarrow", fn_kwargs={"plan": plan, **arguments}
    )
    blocks = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    return chain([next(blocks)], blocks)


def read_block(numbers: pa.Table, *, plan: pa.Table, **arguments: Any) -> pa.Table:
    """The samples of one block of a plan, by its number."""
    (number,) = numbers["id"].to_pylist()
    (block,) = plan[number : number + 1].to_pylist()
    return read_samples(block, **arguments)


def read_samples(
    block: dict[str, Any], *, store_path: str, view: View, with_masks: bool = False
) -> pa.Table:
    """The samples of a block in one row: `frames` and `masks` are uint8 (B, T, H, W) as bytes."""
    stored = [tuple(place.values()) for place in block["clips"]]
    starts = np.cumsum([0, *(len(seeds) for seeds in block["seeds"])])
    # In storage order, so that a row group is read once for all clips in it.
    numbers = sorted(range(len(stored)), key=lambda number: stored[number][1:])
    columns = (*FRAME_COLUMNS, *(MASK_COLUMNS[-2:] if with_masks else ()))
    ordered = [stored[number] for number in numbers]
    rows = store.read_located(store_path, ordered, columns, opened=_open_shard)
    frames = np.empty((starts[-1], view.num_frames, view.height, view.width), np.uint8)
    masks = np.empty_like(frames) if with_masks else None
    for number, row in zip(numbers, rows, strict=True):
        samples = zip(block["seeds"][number], block["frames"][number], strict=True)
        specs = [SampleSpec(0, seed, frame) for seed, frame in samples]
        place = slice(starts[number], starts[number + 1])
        _take(frames_of(row), specs, view, view.resize, out=frames[place])
        if masks is not None:
            ids = masks_of(row)
            assert ids is not None
            _take(ids, specs, view, view.resize_masks, out=masks[place])
    packed = {"frames": _pack(frames)}
    return pa.table(packed if masks is None else packed | {"masks": _pack(masks)})


def _take(
    images: UInt8[np.ndarray, "N H W"],
    specs: Sequence[SampleSpec],
    view: View,
    resize: Callable[[UInt8[np.ndarray, "N H W"]], UInt8[np.ndarray, "N h w"]],
    *,
    out: UInt8[np.ndarray, "B T h w"],
) -> None:
    """The samples of a clip, resized at once; images in no sample are not resized."""
    numbers = np.array([frame_numbers(spec, view, len(images)) for spec in specs])
    needed, places = np.unique(numbers, return_inverse=True)
    chosen = images if len(needed) == len(images) else images[needed]
    np.take(resize(chosen), places.reshape(numbers.shape), axis=0, out=out)


def _pack(samples: UInt8[np.ndarray, "B T H W"]) -> pa.Array:
    """One binary value over the memory of the samples."""
    offsets = pa.py_buffer(np.array([0, samples.nbytes], np.int64))
    data = pa.py_buffer(samples.reshape(-1))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])


def _open_shard(shard: PathOrUri) -> pq.ParquetFile:
    return _open_for_thread(shard, threading.get_ident())


@lru_cache(maxsize=NUM_OPEN)
def _open_for_thread(shard: PathOrUri, thread: int) -> pq.ParquetFile:
    """Why for a thread: a file that reads ranges ahead serves one at a time."""
    return store.open_shard(shard)


def _unpack(packed: pa.ChunkedArray, shape: tuple[int, ...]) -> UInt8[np.ndarray, "B T H W"]:
    return np.frombuffer(packed[0].as_buffer(), np.uint8).reshape(-1, *shape)
