"""Clips from Parquet as samples, streamed by Ray Data where they do not fit in memory.

The order of an epoch is dealt first (`draws.order`); Ray Data then reads, resizes and samples
the clips of each batch in tasks of its own, in that order. So a streamed epoch has the same
batches as one from memory, nothing is shuffled inside a worker, and no clip leaves its Parquet
file before its turn.
Why rows of plain binary: Ray Data accounts for bytes, and a block holds nothing but bytes,
numbers and names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray.data
import torch
from jaxtyping import UInt8
from ray.data import ActorPoolStrategy, DataContext
from torch import Tensor

from lus_ray import store
from lus_ray.batches import Draw, in_scheme, labels, order, sample
from lus_ray.clip import Row, frames_of, masks_of
from lus_ray.predictor import Prediction, Predictor
from lus_ray.views import View

COLUMNS = ("clip", "height", "width", "frames")
OUTLINED = ("clip", "height", "width", "masks", "mask_scheme")

Places = Mapping[str, tuple[str, str, int, int]]
"""Clip, shard, row group and row of every clip, as `store.index` gives them."""


@dataclass(frozen=True)
class Streamed:
    """Frames read from a store, a folder or a URI, as needed; see `lus_ray.batches.Pixels`."""

    store: str

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str],
        scheme: str | None = None, **settings: Any,
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:  # fmt: skip
        """See `Pixels.epochs`: one Ray Data pipeline an epoch, of which one row is one batch."""
        where = places(self.store)

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
        where = places(self.store)
        for row in store.read_located(self.store, [where[r["clip"]] for r in rows], COLUMNS):
            yield view.resize(frames_of(row))

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.masks`: read in this process, a row group at a time."""
        where = places(self.store)
        for row in store.read_located(self.store, [where[r["clip"]] for r in rows], OUTLINED):
            ids = masks_of(row)
            assert ids is not None
            yield view.resize_masks(ids)


def places(store_path: str) -> Places:
    """Where every clip of a store lies."""
    index = store.index(store_path)
    columns = [index[name].to_pylist() for name in ("clip", "shard", "row_group", "row")]
    return {place[0]: place for place in zip(*columns, strict=True)}


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
    rows = store.read_located(store_path, [located[n] for n in by_place], (*COLUMNS, *with_ids))
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


def _unpacked(packed: bytes, view: View) -> UInt8[np.ndarray, "B T H W"]:
    shape = (-1, view.num_frames, view.height, view.width)
    return np.frombuffer(packed, np.uint8).reshape(shape).copy()


def predictions(
    store_path: str, rows: Sequence[Row], checkpoint: str, *, num_actors: int = 1
) -> Iterator[Prediction]:
    """What a checkpoint says of each clip, in order, from a pool of actors that read the store."""
    where = places(store_path)
    items = [{"place": list(map(str, where[row["clip"]]))} for row in rows]
    said = _ordered(items).map(
        PredictPlace,
        fn_constructor_args=(store_path, checkpoint),
        compute=ActorPoolStrategy(size=num_actors),
        num_cpus=1,
    )
    for answer in said.iter_rows():
        yield {
            name: np.frombuffer(answer[name], np.float32).reshape(answer[f"{name}_shape"])
            for name in ("outputs", "features", "probability")
            if answer.get(name) is not None
        }


class PredictPlace:
    """A predictor that reads its clip by itself; the answer is plain bytes and shapes."""

    def __init__(self, store_path: str, checkpoint: str) -> None:
        self.store_path, self.predictor = store_path, Predictor(checkpoint)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """`outputs`, `features` and `probability` of one clip."""
        clip, shard, group, number = item["place"]
        place = (clip, shard, int(group), int(number))
        row = next(store.read_located(self.store_path, [place], COLUMNS))
        said: dict[str, Any] = {}
        for name, values in self.predictor(row).items():
            said[name] = values.astype(np.float32).tobytes()
            said[f"{name}_shape"] = list(values.shape)
        return said


def _ordered(items: list[dict[str, Any]]) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray.data.from_items(items, override_num_blocks=max(1, len(items)))
