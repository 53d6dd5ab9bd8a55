"""From clips to batches: which clip comes when, and how a batch is stacked.

Letters: B clips in a batch, T frames, H rows, W columns, M frames of a track, K classes.
Why an order apart from the pixels: the same order gives the same batches whether the clips lie
in memory or stream from Parquet, on one worker or on several.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lus_ray.clip import Row
from lus_ray.errors import ArmError, StoreError
from lus_ray.tasks.expert import oversample
from lus_ray.tasks.network import class_index
from lus_ray.views import Track, View

Frames = Callable[[str], UInt8[np.ndarray, "N H W"]]
"""All frames of a clip, by name, at the size of a view."""


@dataclass(frozen=True)
class Draw:
    """One sample of a batch: which row, and the seed of its random start, or its one frame."""

    row: int
    seed: int
    frame: int | None = None


def order(
    rows: Sequence[Row],
    *,
    batch: int,
    seed: int,
    epoch: int,
    balance: str | None = None,
    by_frame: bool = False,
    num_draws: int = 0,
    rank: int = 0,
    workers: int = 1,
) -> list[list[Draw]]:
    """The batches of one epoch, every row once; with `balance`, every class equally often.

    `balance` names a label column whose smaller classes are repeated up to the largest. With
    `by_frame` the samples are single frames, `num_draws` of them (0: as many as there are):
    without `balance` each once, with it drawn with replacement, the weight of a frame being one
    over the frames of its class (Roy 2020); a last batch that is not full is left out. Worker
    `rank` of `workers` gets its share of each batch; shares are equal, and a last batch that
    would leave a worker idle is left out.
    """
    rng = np.random.default_rng([seed, epoch])
    if batch < 1:
        raise ArmError(f"a batch of {batch}; set arm.recipe.batch to 1 or more")
    if by_frame:
        draws = _frames(rows, balance, num_draws, rng)
        draws = draws[: len(draws) // batch * batch] or draws
    else:
        chosen = np.arange(len(rows))
        if balance is not None:
            chosen = oversample(np.array([class_index(balance, row) for row in rows]), rng)
        chosen = rng.permutation(chosen)
        seeds = rng.integers(0, 2**31, len(chosen))
        draws = [Draw(int(row), int(s)) for row, s in zip(chosen, seeds, strict=True)]
    whole = [draws[i : i + batch] for i in range(0, len(draws), batch)]
    if workers == 1:
        return whole
    shares = [part[: len(part) // workers * workers][rank::workers] for part in whole]
    return [share for share in shares if share]


def _frames(
    rows: Sequence[Row], balance: str | None, num_draws: int, rng: np.random.Generator
) -> list[Draw]:
    """Single frames of rows with a `frame_severity`, in random order."""
    if balance not in (None, "frame_severity"):
        raise ArmError(f"frames cannot be balanced by {balance!r}; use 'frame_severity' or null")
    lengths = [len(row["frame_severity"]) for row in rows]
    row_of = np.repeat(np.arange(len(rows)), lengths)
    frame_of = np.concatenate([np.arange(length) for length in lengths])
    number = num_draws or len(row_of)
    if balance is None:
        chosen = rng.permutation(len(row_of))[:number]
    else:
        target = np.concatenate([np.asarray(row[balance]) for row in rows])
        _, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
        weight = 1.0 / counts[inverse]
        chosen = rng.choice(len(row_of), number, p=weight / weight.sum())
    return [Draw(int(row_of[i]), 0, int(frame_of[i])) for i in chosen]


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
    samples = [sample(frames(rows[draw.row]["clip"]), view, draw) for draw in draws]
    return {"frames": torch.from_numpy(np.stack(samples)), **labels(draws, rows, columns)}


def sample(
    frames: UInt8[np.ndarray, "N H W"], view: View, draw: Draw
) -> UInt8[np.ndarray, "T H W"]:
    """What a draw takes of the resized frames of its clip."""
    if draw.frame is None:
        return view.sample(frames, np.random.default_rng(draw.seed))
    if draw.frame >= len(frames):
        raise StoreError(
            f"a clip has {len(frames)} frames and more labels; ingest its source again"
        )
    return frames[draw.frame : draw.frame + 1]


def labels(draws: Sequence[Draw], rows: Sequence[Row], columns: Sequence[str]) -> dict[str, Tensor]:
    """A tensor per label column, a number or a vector for each draw."""
    return {
        column: torch.tensor([_target(column, rows[draw.row], draw.frame) for draw in draws])
        for column in columns
    }


def _target(column: str, row: Row, frame: int | None) -> Any:
    if column == "frame_severity":
        return row[column][frame]
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


@dataclass(frozen=True)
class Tracks:
    """What an earlier arm says of each frame, from the rows of its prediction table.

    One batch holds every clip: `tracks` (B, K, M) float64, zero beyond the `lengths` (B,).
    """

    def epochs(
        self, rows: Sequence[Row], *, view: Track, columns: Sequence[str], **settings: Any
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:
        """The same batch in every epoch."""
        tracks = list(self.clips(rows, view))
        lengths = torch.tensor([len(track) for track in tracks])
        whole = {
            "tracks": pad_sequence(tracks, batch_first=True).transpose(1, 2).contiguous(),
            "lengths": lengths,
            **labels([Draw(number, 0) for number in range(len(rows))], rows, columns),
        }
        return lambda epoch: iter([whole])

    def clips(self, rows: Sequence[Row], view: Track) -> Iterator[Float[Tensor, "M K"]]:
        """The track of each row, in order."""
        for row in rows:
            yield torch.from_numpy(view.sample(np.asarray(row["outputs"], np.float64)))
