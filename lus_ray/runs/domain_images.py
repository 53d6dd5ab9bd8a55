"""Images of B-lines in several domains: masks of expert and cell, and frames translated by SIFA.

Shapes: N frames, H rows, W columns.
Source: Mason et al. 2021, Figures 2 and 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lus_ray import figures
from lus_ray.clip import Row
from lus_ray.metrics import segmentation
from lus_ray.tasks.segmentation import Segmentation

NUM_PATIENTS = 2
"""Patients per domain."""


@runtime_checkable
class Translator(Protocol):
    """A task that translates frames between two domains."""

    def translate_and_reconstruct(
        self, frames: Float[Tensor, "N 1 H W"], *, source: bool
    ) -> tuple[Float[Tensor, "N 1 H W"], Float[Tensor, "N 1 H W"]]:
        """Frames in [0, 1] of the source (else the target) translated, and reconstructed."""


@dataclass(frozen=True)
class DomainPair:
    """Column values of clips of the source and of the target; empty where an arm has none."""

    source: Mapping[str, Any]
    target: Mapping[str, Any]

    def index_of(self, row: Row) -> int | None:
        """0 for a clip of the source, 1 for one of the target, None for any other."""
        for index, wanted in enumerate((self.source, self.target)):
            if wanted and all(row.get(column) == value for column, value in wanted.items()):
                return index
        return None


@dataclass(frozen=True)
class ExampleImage:
    """An image: the suffix of its file name, its kind in the report, SVG text and caption."""

    suffix: str
    kind: str
    svg: str
    caption: str


def select_examples(tested: Sequence[Row]) -> list[tuple[Row, int]]:
    """The first clips of a few patients per domain, each with its middle tested frame."""
    patients: dict[tuple[str, str], tuple[Row, int]] = {}
    for row in tested:
        images = row.get("images")
        frames = range(row["num_frames"]) if images is None else [frame for frame, _ in images]
        if len(frames):
            domain = row.get("domain") or ""
            patients.setdefault((domain, row["patient"]), (row, int(frames[len(frames) // 2])))
    by_domain: dict[str, list[tuple[Row, int]]] = {}
    for (domain, _), example in patients.items():
        by_domain.setdefault(domain, []).append(example)
    return [example for domain in sorted(by_domain) for example in by_domain[domain][:NUM_PATIENTS]]


def draw(
    task: Segmentation,
    row: Row,
    image: UInt8[np.ndarray, "H W"],
    true: UInt8[np.ndarray, "H W"],
    *,
    domains: DomainPair,
    device: str,
) -> Iterator[ExampleImage]:
    """The frame with the mask of the expert, with that of the task, and translated."""
    frames = torch.from_numpy(image / np.float32(255))[None, None].to(device)
    predicted = task.predict(frames)["masks"]
    counts = segmentation.count_pixels(true[None], predicted, num_classes=2)
    dice = segmentation.dice(counts)[0, 1]
    caption = "no B-line in either" if np.isnan(dice) else f"Dice {dice:.2f}"
    svg, domain = figures.draw_segmentations(image, true == 1, {}), row.get("domain")
    yield ExampleImage("-expert", "expert", svg, domain or "unknown domain")
    svg = figures.draw_segmentations(image, true == 1, {"task": predicted[0] == 1})
    yield ExampleImage("", "outlines", svg, caption)
    index = domains.index_of(row)
    if index is not None and isinstance(task, Translator):
        names = domains.source.get("domain", "source"), domains.target.get("domain", "target")
        here, there = names[:: -1 if index else 1]
        yield _draw_translation(task, frames, image, here=here, there=there, source=index == 0)


@torch.no_grad()
def _draw_translation(
    task: Translator,
    frames: Float[Tensor, "1 1 H W"],
    image: UInt8[np.ndarray, "H W"],
    *,
    here: str,
    there: str,
    source: bool,
) -> ExampleImage:
    translated, back = (
        (255 * result[0, 0].clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
        for result in task.translate_and_reconstruct(frames, source=source)
    )
    row = [(f"{here} frame", image), (f"as {there}", translated), ("reconstructed", back)]
    error = np.abs(back.astype(int) - image).mean()
    svg = figures.draw_image_rows([row])
    error_text = f"reconstructed with a mean error of {error:.1f} of 255 grey levels"
    return ExampleImage("-translated", "translations", svg, f"{here} as {there}: {error_text}")
