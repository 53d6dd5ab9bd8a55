"""From clips to batches: which clip comes when, and how a batch is stacked.

Letters: B clips in a batch, T frames, H rows, W columns, M frames of a track, K classes.
Why an order apart from the pixels: the same order gives the same batches whether the clips lie
in memory or stream from Parquet, on one worker or on several.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lus_ray.clip import Row
from lus_ray.data import masks
from lus_ray.data.labels import class_index
from lus_ray.data.loading.sampler import Draw, order
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import StoreError

Size = tuple[int, int] | tuple[int, int, float] | tuple[int, int, float | None, bool]
"""Height and width of a view in pixels; its aspect where it pads, and True where it is bicubic."""

Frames = Callable[[str], UInt8[np.ndarray, "N H W"]]
"""All frames of a clip, by name, at the size of a view."""


def stack(
    draws: Sequence[Draw],
    rows: Sequence[Row],
    frames: Frames,
    *,
    view: View,
    columns: Sequence[str],
    outlined: Frames | None = None,
    scheme: str | None = None,
) -> dict[str, Tensor]:
    """One batch: `frames` (B, T, H, W) uint8 and a tensor per label column.

    `severity`, `sf_ratio` and `disease` become class indices (B,), `biomarkers` (B, 38). With a
    `scheme`, `masks` (B, T, H, W) uint8 are its class ids, from what `outlined` gives in the
    scheme of each clip.
    """
    samples = [sample(frames(rows[draw.row]["clip"]), view, draw) for draw in draws]
    batch = {"frames": torch.from_numpy(np.stack(samples)), **labels(draws, rows, columns)}
    if scheme is not None and outlined is not None:
        ids = [sample(outlined(rows[draw.row]["clip"]), view, draw) for draw in draws]
        batch["masks"] = torch.from_numpy(np.stack(in_scheme(ids, draws, rows, scheme)))
    return batch


def in_scheme(
    ids: Iterable[UInt8[np.ndarray, "T H W"]],
    draws: Sequence[Draw],
    rows: Sequence[Row],
    scheme: str,
) -> list[UInt8[np.ndarray, "T H W"]]:
    """Masks of samples in one scheme, each from that of its clip."""
    return [
        masks.convert(one, rows[draw.row]["mask_scheme"], scheme)
        for one, draw in zip(ids, draws, strict=True)
    ]


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
    """A tensor per label column, a number or a vector for each draw; `copy` where there are any."""
    found = {
        column: torch.tensor([_target(column, rows[draw.row], draw.frame) for draw in draws])
        for column in columns
    }
    if any(draw.copy for draw in draws):
        found["copy"] = torch.tensor([draw.copy for draw in draws])
    return found


def _target(column: str, row: Row, frame: int | None) -> Any:
    if column == "frame_severity":
        return row[column][frame]
    return row[column] if column == "biomarkers" else class_index(column, row)


def beside(
    labelled: Callable[[int], Iterator[dict[str, Tensor]]],
    unlabelled: Callable[[int], Iterator[dict[str, Tensor]]],
) -> Callable[[int], Iterator[dict[str, Tensor]]]:
    """Two streams of equally many batches as one: frames of the second are `target_frames`."""

    def both(epoch: int) -> Iterator[dict[str, Tensor]]:
        for one, other in zip(labelled(epoch), unlabelled(epoch), strict=True):
            yield {**one, "target_frames": other["frames"]}

    return both


def size_of(view: View) -> Size:
    """What tells the resized frames of one view from those of another."""
    if view.bicubic:
        return (view.height, view.width, view.aspect, True)
    size = (view.height, view.width)
    return size if view.aspect is None else (*size, view.aspect)


def view_of(size: Size) -> View:
    """A view that resizes frames as every view of this size does."""
    aspect = size[2] if len(size) > 2 else None
    return View(height=size[0], width=size[1], aspect=aspect, bicubic=len(size) > 3)


@runtime_checkable
class Pixels(Protocol):
    """Where the frames of clips come from; the two transports give equal batches."""

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str], **settings: Any
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:
        """The batches of an epoch, by its number; `settings` are `scheme` and those of `order`."""

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All frames of each clip at the view's size, in the order of the rows."""

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All masks of each clip at the view's size, in the scheme of the clip."""


@dataclass(frozen=True)
class InMemory:
    """Frames and masks that are at hand: by the size of a view, then by clip."""

    frames: Mapping[Size, Mapping[str, UInt8[np.ndarray, "N H W"]]]
    outlined: Mapping[Size, Mapping[str, UInt8[np.ndarray, "N H W"]]] = field(default_factory=dict)

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str],
        scheme: str | None = None, **settings: Any,
    ) -> Callable[[int], Iterator[dict[str, Tensor]]]:  # fmt: skip
        """See `Pixels.epochs`."""
        size = size_of(view)
        frames, outlined = self.frames[size], self.outlined.get(size, {})

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            for draws in order(rows, epoch=epoch, **settings):
                yield stack(
                    draws, rows, frames.__getitem__, view=view, columns=columns,
                    outlined=outlined.__getitem__, scheme=scheme,
                )  # fmt: skip

        return batches

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.clips`."""
        frames = self.frames[size_of(view)]
        return (frames[row["clip"]] for row in rows)

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """See `Pixels.masks`."""
        outlined = self.outlined[size_of(view)]
        return (outlined[row["clip"]] for row in rows)


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
