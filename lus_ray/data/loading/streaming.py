"""Batches streamed from Parquet, for clips that do not fit in memory.

The order of an epoch is sampled first, so that a streamed epoch has the batches of one from memory.
Samples are read in blocks in the order of their first use, each clip of a window once, by threads
of this process that write them to their places. Ray Data reads half of what is beyond the first GB
of an epoch, ahead as far as its memory allows. Why not all: it starts in a third of a second, in a
fresh cluster in ten, and what one process hands to another costs twice the CPU time.
Why a block is one row of binary: Ray Data accounts for bytes, and nothing is copied on the way.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from jaxtyping import UInt8
from ray.data import DataContext
from torch import Tensor

from lus_ray.clip import Row, frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.loading.batches import Epochs, convert_masks, frame_numbers, stack_labels
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.loading.stream_plan import (
    Images,
    Location,
    Read,
    Samples,
    describe,
    plan_reads,
    to_blocks,
)
from lus_ray.data.transforms.view import View
from lus_ray.storage.paths import PathOrUri, is_remote

FRAME_COLUMNS = ("clip", "height", "width", "frames")
MASK_COLUMNS = ("clip", "height", "width", "masks", "mask_scheme")
START_BLOCKS, RAY_SHARE = 32, 2
"""Blocks that this process reads as Ray Data starts; Ray Data reads one in so many of the rest."""
OWN_READS, REMOTE_READS, OWN_AHEAD = 2, 16, 2
"""Blocks that this process reads at a time; from object storage, where Arrow has eight requests at
a time and the others decode; and so many more are submitted."""
NUM_OPEN = 64
"""Shards that a process keeps open. Reading a footer costs a quarter of reading a clip; on object
storage, a thread that opens a shard waits for two answers before it asks for a clip."""


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
            blocks, num_early = to_blocks(plan_reads(sampled, by_frame=by_frame), view)
            images = Images(list(map(len, sampled)), view, with_masks=scheme is not None)
            filled = _fill(images, blocks, num_early, locations, store_path=self.store, view=view)
            for number, specs in enumerate(sampled):
                while images.missing[number]:
                    next(filled)
                done = images.filling.pop(number)
                batch = {"frames": torch.from_numpy(done["frames"])}
                if scheme is not None:
                    ids = convert_masks(done["masks"], specs, rows, scheme)
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


def _fill(
    images: Images, blocks: Sequence[Sequence[Read]], num_early: int,
    locations: Sequence[Location], *, store_path: str, view: View,
) -> Iterator[None]:  # fmt: skip
    """Write the blocks of an epoch in order, by threads and, late in a long epoch, by Ray Data.

    Nothing waits for Ray Data: its share begins behind what the threads read as it starts.
    """
    num_own = REMOTE_READS if is_remote(store_path) else OWN_READS
    read = partial(read_samples, store_path=store_path, view=view)

    def start(numbers: range) -> Iterator[pa.Table]:
        plan = pa.Table.from_pylist([describe(blocks[number], locations) for number in numbers])
        return _read_with_ray(plan, names=images.names, store_path=store_path, view=view)

    def write_next(out: Samples) -> None:
        assert rest is not None
        table = next(rest.result())
        for name, samples in out.items():
            for sample, source in zip(samples, _unpack(table[name], images.shape), strict=True):
                sample[:] = source

    threads, starter = _reading_threads(num_own), ThreadPoolExecutor(1)
    ready = starter.submit(_start_workers) if len(blocks) > num_early else None
    ahead, number, others, rest = deque[Future[None] | None](), 0, range(0), None
    try:
        for block in blocks:
            while number < len(blocks) and len(ahead) - ahead.count(None) < num_own + OWN_AHEAD:
                if ready is not None and ready.done():
                    first, ready = max(number + START_BLOCKS, num_early), None
                    others = range(first, len(blocks), RAY_SHARE)
                    rest = starter.submit(start, others) if others else None
                if number in others:
                    ahead.append(None)
                else:
                    out = images.of_block(blocks[number])
                    described = describe(blocks[number], locations)
                    ahead.append(threads.submit(read, described, out))
                number += 1
            written = ahead.popleft()
            write_next(images.of_block(block)) if written is None else written.result()
            images.count(block)
            yield
    finally:
        starter.shutdown(wait=False, cancel_futures=True)
        for unread in filter(None, ahead):
            unread.cancel()


@lru_cache
def _reading_threads(number: int) -> ThreadPoolExecutor:
    """Why for all epochs: Arrow keeps freed memory with a thread, and gives it back as it ends."""
    return ThreadPoolExecutor(number)


@lru_cache(maxsize=1)
def _start_workers() -> None:
    """Start the processes of Ray Data and import this module there, once, which takes seconds."""
    number = int(ray.cluster_resources().get("CPU", 1))
    _map_in_order(number, _pass_on).materialize()


def _pass_on(numbers: pa.Table) -> pa.Table:
    return numbers


def _read_with_ray(plan: pa.Table, **arguments: Any) -> Iterator[pa.Table]:
    """The blocks of a plan in order; returns when the first is there."""
    dataset = _map_in_order(len(plan), read_block, plan=plan, **arguments)
    blocks = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    return chain([next(blocks)], blocks)


def _map_in_order(
    number: int, function: Callable[..., pa.Table], **arguments: Any
) -> ray.data.Dataset:
    """What a function returns for each of so many numbers."""
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray.data.range(number, override_num_blocks=number).map_batches(
        function, batch_size=None, batch_format="pyarrow", fn_kwargs=arguments
    )


def read_block(
    numbers: pa.Table, *, plan: pa.Table, names: Sequence[str], store_path: str, view: View
) -> pa.Table:
    """One block of a plan, by its number, in one row: uint8 (B, T, H, W) as bytes by name."""
    (number,) = numbers["id"].to_pylist()
    (block,) = plan[number : number + 1].to_pylist()
    shape = (sum(map(len, block["seeds"])), view.num_frames, view.height, view.width)
    out = {name: np.empty(shape, np.uint8) for name in names}
    read_samples(block, out, store_path=store_path, view=view)
    return pa.table({name: _pack(samples) for name, samples in out.items()})


def read_samples(block: dict[str, Any], out: Samples, *, store_path: str, view: View) -> None:
    """Write the samples of a block: frames, and masks where there is a place for them."""
    stored = [tuple(place.values()) for place in block["clips"]]
    starts = np.cumsum([0, *(len(seeds) for seeds in block["seeds"])])
    # In storage order, so that a row group is read once for all clips in it.
    numbers = sorted(range(len(stored)), key=lambda number: stored[number][1:])
    columns = (*FRAME_COLUMNS, *(MASK_COLUMNS[-2:] if "masks" in out else ()))
    ordered = [stored[number] for number in numbers]
    rows = store.read_located(store_path, ordered, columns, opened=_open_shard)
    for number, row in zip(numbers, rows, strict=True):
        samples = zip(block["seeds"][number], block["frames"][number], strict=True)
        specs = [SampleSpec(0, seed, frame) for seed, frame in samples]
        place = slice(starts[number], starts[number + 1])
        _take(frames_of(row), specs, view, view.resize, out=out["frames"][place])
        if "masks" in out:
            ids = masks_of(row)
            assert ids is not None
            _take(ids, specs, view, view.resize_masks, out=out["masks"][place])


def _take(
    images: UInt8[np.ndarray, "N H W"],
    specs: Sequence[SampleSpec],
    view: View,
    resize: Callable[[UInt8[np.ndarray, "N H W"]], UInt8[np.ndarray, "N h w"]],
    *,
    out: Sequence[UInt8[np.ndarray, "T h w"]] | UInt8[np.ndarray, "B T h w"],
) -> None:
    """Write the samples of a clip, resized at once; images in no sample are not resized."""
    numbers = np.array([frame_numbers(spec, view, len(images)) for spec in specs])
    if images.shape[1:] != (view.height, view.width) or view.aspect is not None:
        needed, places = np.unique(numbers, return_inverse=True)
        images, numbers = resize(images[needed]), places.reshape(numbers.shape)
    for places, sample in zip(numbers, out, strict=True):
        np.take(images, places, axis=0, out=sample, mode="clip")  # other modes copy twice


def _pack(samples: UInt8[np.ndarray, "B T H W"]) -> pa.Array:
    """One binary value over the memory of the samples."""
    offsets = pa.py_buffer(np.array([0, samples.nbytes], np.int64))
    data = pa.py_buffer(samples.reshape(-1))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])


def _open_shard(shard: PathOrUri) -> store.OpenShard:
    with _OPENING[shard]:  # a second thread waits for the first and asks for nothing
        return _open(shard)


_OPENING: dict[PathOrUri, threading.Lock] = defaultdict(threading.Lock)
_open = lru_cache(maxsize=NUM_OPEN)(store.OpenShard)


def _unpack(packed: pa.ChunkedArray, shape: tuple[int, ...]) -> UInt8[np.ndarray, "B T H W"]:
    return np.frombuffer(packed[0].as_buffer(), np.uint8).reshape(-1, *shape)
