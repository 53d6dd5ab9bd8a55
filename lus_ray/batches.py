"""From clips to batches: which clip comes when, and how a batch is stacked.

Letters: B clips in a batch, T frames, H rows, W columns.
Why an order apart from the pixels: the same order gives the same batches whether the clips lie
in memory or stream from Parquet, on one worker or on several.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lus_ray.clip import Row
from lus_ray.tasks.expert import oversample
from lus_ray.tasks.network import class_index
from lus_ray.views import View

Frames = Callable[[str], UInt8[np.ndarray, "N H W"]]
"""All frames of a clip, by name, at the size of a view."""


@dataclass(frozen=True)
class Draw:
    """One sample of a batch: which row, and the seed of its random start."""

    row: int
    seed: int


def order(
    rows: Sequence[Row],
    *,
    batch: int,
    seed: int,
    epoch: int,
    balance: str | None = None,
    rank: int = 0,
    workers: int = 1,
) -> list[list[Draw]]:
    """The batches of one epoch, every row once; with `balance`, every class equally often.

    `balance` names a label column whose smaller classes are repeated up to the largest. Worker
    `rank` of `workers` gets its share of each batch; shares are equal, and a last batch that
    would leave a worker idle is left out.
    """
    rng = np.random.default_rng([seed, epoch])
    chosen = np.arange(len(rows))
    if balance is not None:
        target = np.array([class_index(balance, row) for row in rows])
        chosen = oversample(target, rng)
    chosen = rng.permutation(chosen)
    seeds = rng.integers(0, 2**31, len(chosen))
    draws = [Draw(int(row), int(s)) for row, s in zip(chosen, seeds, strict=True)]
    whole = [draws[i : i + batch] for i in range(0, len(draws), batch)]
    if workers == 1:
        return whole
    shares = [part[: len(part) // workers * workers][rank::workers] for part in whole]
    return [share for share in shares if share]


def stack(
    draws: Sequence[Draw],
    rows: Sequence[Row],
    frames: Frames,
    *,
    view: View,
    columns: Sequence[str],
) -> dict[str, Tensor]:
    """One batch: `frames` (B, T, H, W) uint8 and a tensor per label column.

    `severity`, `sf_ratio` and `disease` become class indices (B,), `biomarkers` (B, 38).
    """
    samples = [
        view.sample(frames(rows[d.row]["clip"]), np.random.default_rng(d.seed)) for d in draws
    ]
    batch = {"frames": torch.from_numpy(np.stack(samples))}
    for column in columns:
        batch[column] = torch.tensor([target(column, rows[draw.row]) for draw in draws])
    return batch


def target(column: str, row: Row) -> Any:
    """A label as the numbers that a loss takes."""
    return row[column] if column == "biomarkers" else class_index(column, row)


@runtime_checkable
class Pixels(Protocol):
    """Where the frames of clips come from; the two transports give equal batches."""

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str], **settings: Any
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:
        """The batches of an epoch, by its number; `settings` are those of `order`."""

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All frames of each clip at the view's size, in the order of the rows."""


@dataclass(frozen=True)
class InMemory:
    """Frames that are at hand: by size (height, width), then by clip."""

    frames: Mapping[tuple[int, int], Mapping[str, UInt8[np.ndarray, "N H W"]]]

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str], **settings: Any
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:
        """See `Pixels.epochs`."""
        frames = self.frames[view.height, view.width]

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            for draws in order(rows, epoch=epoch, **settings):
                yield stack(draws, rows, frames.__getitem__, view=view, columns=columns)

        return batches

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.clips`."""
        frames = self.frames[view.height, view.width]
        return (frames[row["clip"]] for row in rows)
