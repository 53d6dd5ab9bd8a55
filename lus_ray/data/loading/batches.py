"""Stack sampled frames, masks and labels of clips into batches.

Shapes: B clips in a batch, T frames, H rows, W columns, M frames of a track, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lus_ray.clip import Row
from lus_ray.data import masks
from lus_ray.data.labels import class_index
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import StoreError

FrameSize = tuple[int, int] | tuple[int, int, float] | tuple[int, int, float | None, bool]
"""Height and width of a view in pixels; its aspect where it pads, and True where it is bicubic."""

Frames = Callable[[str], UInt8[np.ndarray, "N H W"]]
"""All frames, or masks, of a clip by its name, at the size of a view."""


@runtime_checkable
class Epochs(Protocol):
    """The batches of an epoch by its number, from batch `start` on; earlier ones are not read."""

    def __call__(self, epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]: ...


def stack_batch(
    specs: Sequence[SampleSpec],
    rows: Sequence[Row],
    frames: Frames,
    *,
    view: View,
    columns: Sequence[str],
    clip_masks: Frames | None = None,
    scheme: str | None = None,
    classes: Sequence[str] = (),
) -> dict[str, Tensor]:
    """One batch: `frames` (B, T, H, W) uint8 and a tensor per label column.

    Labels are class indices (B,), `biomarkers` (B, 38). With a `scheme`, `masks` (B, T, H, W) uint8
    are its class ids; `clip_masks` gives them in the scheme of each clip.
    """
    samples = [take_frames(frames(rows[spec.row]["clip"]), view, spec) for spec in specs]
    labels = stack_labels(specs, rows, columns, classes)
    batch = {"frames": torch.from_numpy(np.stack(samples)), **labels}
    if scheme is not None and clip_masks is not None:
        ids = [take_frames(clip_masks(rows[spec.row]["clip"]), view, spec) for spec in specs]
        batch["masks"] = torch.from_numpy(np.stack(convert_masks(ids, specs, rows, scheme)))
    return batch


def convert_masks(
    ids: Iterable[UInt8[np.ndarray, "T H W"]],
    specs: Sequence[SampleSpec],
    rows: Sequence[Row],
    scheme: str,
) -> list[UInt8[np.ndarray, "T H W"]]:
    """Masks of samples in one scheme, each converted from that of its clip."""
    return [
        masks.convert_masks(sample, rows[spec.row]["mask_scheme"], scheme)
        for sample, spec in zip(ids, specs, strict=True)
    ]


def take_frames(
    frames: UInt8[np.ndarray, "N H W"], view: View, spec: SampleSpec
) -> UInt8[np.ndarray, "T H W"]:
    """The frames of one sample, from all resized frames of its clip."""
    numbers = frame_numbers(spec, view, len(frames))
    return frames[numbers] if spec.frame is None else frames[spec.frame : spec.frame + 1]


def frame_numbers(spec: SampleSpec, view: View, num_frames: int) -> Int64[np.ndarray, "T"]:
    """Which frames of a clip are in a sample; StoreError if the clip has fewer."""
    if spec.frame is None:
        return view.frame_indices(num_frames, np.random.default_rng(spec.seed).random())
    if spec.frame >= num_frames:
        raise StoreError(f"a clip has {num_frames} frames and more labels; ingest its source again")
    return np.array([spec.frame])


def stack_labels(
    specs: Sequence[SampleSpec],
    rows: Sequence[Row],
    columns: Sequence[str],
    classes: Sequence[str] = (),
) -> dict[str, Tensor]:
    """A tensor per label, an entry per sample; `copy` where any sample is a copy.

    `classes` are those of a label that is not built in.
    """
    labels = {
        name: torch.tensor([_label(name, rows[spec.row], spec.frame, classes) for spec in specs])
        for name in columns
    }
    if any(spec.copy for spec in specs):
        labels["copy"] = torch.tensor([spec.copy for spec in specs])
    return labels


def _label(column: str, row: Row, frame: int | None, classes: Sequence[str]) -> Any:
    if column == "frame_severity":
        return row[column][frame]
    return row[column] if column == "biomarkers" else class_index(column, row, classes)


def pair_streams(labelled: Epochs, unlabelled: Epochs) -> Epochs:
    """Two streams of equally many batches as one; the second gives `target_frames`."""

    def paired(epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        both = labelled(epoch, start), unlabelled(epoch, start)
        for batch, target in zip(*both, strict=True):
            yield {**batch, "target_frames": target["frames"]}

    return paired


def size_of(view: View) -> FrameSize:
    """A key that is equal for views with the same resized frames."""
    if view.bicubic:
        return (view.height, view.width, view.aspect, True)
    size = (view.height, view.width)
    return size if view.aspect is None else (*size, view.aspect)


def view_of(size: FrameSize) -> View:
    aspect = size[2] if len(size) > 2 else None
    return View(height=size[0], width=size[1], aspect=aspect, bicubic=len(size) > 3)


@runtime_checkable
class Pixels(Protocol):
    """A source of frames and masks; all transports give equal batches."""

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str], **settings: Any
    ) -> Epochs:
        """Batches by epoch; `settings` are `scheme` and those of `sample_epoch`.

        `classes` are those of a label that is not built in.
        """

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All frames of each clip at the view's size, in the order of the rows."""

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        """All masks of each clip at the view's size, in the scheme of the clip."""


@dataclass(frozen=True)
class InMemory:
    """Frames and masks in memory, by the size of a view and the name of a clip."""

    frames: Mapping[FrameSize, Mapping[str, UInt8[np.ndarray, "N H W"]]]
    class_ids: Mapping[FrameSize, Mapping[str, UInt8[np.ndarray, "N H W"]]] = field(
        default_factory=dict
    )

    def epochs(
        self, rows: Sequence[Row], *, view: View, columns: Sequence[str],
        scheme: str | None = None, classes: Sequence[str] = (), **settings: Any,
    ) -> Epochs:  # fmt: skip
        size = size_of(view)
        frames, class_ids = self.frames[size], self.class_ids.get(size, {})
        stack = partial(stack_batch, view=view, columns=columns, scheme=scheme, classes=classes)

        def batches(epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
            for specs in sample_epoch(rows, epoch=epoch, classes=classes, **settings)[start:]:
                yield stack(specs, rows, frames.__getitem__, clip_masks=class_ids.__getitem__)

        return batches

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        frames = self.frames[size_of(view)]
        return (frames[row["clip"]] for row in rows)

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[UInt8[np.ndarray, "N H W"]]:
        class_ids = self.class_ids[size_of(view)]
        return (class_ids[row["clip"]] for row in rows)


@dataclass(frozen=True)
class Tracks:
    """Frame predictions of an earlier arm, from the rows of its prediction table.

    One batch holds every clip: `tracks` (B, K, M) float64, zero beyond the `lengths` (B,).
    """

    def epochs(
        self, rows: Sequence[Row], *, view: Track, columns: Sequence[str],
        classes: Sequence[str] = (), **settings: Any,
    ) -> Epochs:  # fmt: skip
        specs = [SampleSpec(i, 0) for i in range(len(rows))]
        tracks = list(self.clips(rows, view))
        batch = {
            "tracks": pad_sequence(tracks, batch_first=True).transpose(1, 2).contiguous(),
            "lengths": torch.tensor([len(track) for track in tracks]),
            **stack_labels(specs, rows, columns, classes),
        }
        return lambda epoch, start=0: iter([batch][start:])

    def clips(self, rows: Sequence[Row], view: Track) -> Iterator[Float[Tensor, "M K"]]:
        for row in rows:
            yield torch.from_numpy(view.sample(np.asarray(row["outputs"], np.float64)))
