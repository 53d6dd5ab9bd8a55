"""Pictures of B-lines in frames of several domains: what the expert and a cell outline, and how a
task that translates frames would show them in the other domain.

Letters: N frames, H rows, W columns.
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
"""Patients of each domain of whom a frame is shown."""


@runtime_checkable
class Translator(Protocol):
    """A task that shows frames of one domain as the other would: SIFA."""

    def translate_and_reconstruct(
        self, frames: Float[Tensor, "N 1 H W"], *, source: bool
    ) -> tuple[Float[Tensor, "N 1 H W"], Float[Tensor, "N 1 H W"]]:
        """Frames in [0, 1] of the source, or else the target, as the other domain, and back."""


@dataclass(frozen=True)
class Domains:
    """What clips of the source and of the target of an arm equal; nothing where it has neither."""

    source: Mapping[str, Any]
    target: Mapping[str, Any]

    def place(self, row: Row) -> int | None:
        """0 for a clip of the source, 1 for one of the target, None for any other."""
        for number, wanted in enumerate((self.source, self.target)):
            if wanted and all(row.get(column) == value for column, value in wanted.items()):
                return number
        return None

    def names(self) -> tuple[str, str]:
        """What the captions call the source and the target."""
        given = (self.source.get("domain"), self.target.get("domain"))
        return str(given[0] or "source"), str(given[1] or "target")


@dataclass(frozen=True)
class Drawn:
    """One picture: the end of its file's name, its kind in the report, its text and its caption."""

    ending: str
    kind: str
    svg: str
    caption: str


def examples(tested: Sequence[Row]) -> list[tuple[Row, int]]:
    """Of each domain the first clips of a few patients, and the middle one of the frames looked at.

    `tested` is in the order in which clips are chosen.
    """
    patients: dict[tuple[str, str], tuple[Row, int]] = {}
    for row in tested:
        images = row.get("images")
        frames = range(row["num_frames"]) if images is None else [image[0] for image in images]
        if len(frames):
            domain = row.get("domain") or ""
            patients.setdefault((domain, row["patient"]), (row, int(frames[len(frames) // 2])))
    by_domain: dict[str, list[tuple[Row, int]]] = {}
    for (domain, _), example in patients.items():
        by_domain.setdefault(domain, []).append(example)
    return [one for domain in sorted(by_domain) for one in by_domain[domain][:NUM_PATIENTS]]


def of(
    task: Segmentation,
    row: Row,
    picture: UInt8[np.ndarray, "H W"],
    true: UInt8[np.ndarray, "H W"],
    *,
    domains: Domains,
    device: str,
) -> Iterator[Drawn]:
    """The frame with the outline of the expert, with that of the task too, and translated."""
    frames = torch.from_numpy(picture / np.float32(255))[None, None].to(device)
    said = task.predict(frames)["masks"]
    (dice,) = segmentation.dice(segmentation.count_pixels(true[None], said, num_classes=2))[:, 1]
    judged = "no B-line in either" if np.isnan(dice) else f"Dice {dice:.2f}"
    yield Drawn(
        "-expert", "expert", figures.draw_segmentations(picture, true == 1, {}), _of_domain(row)
    )
    svg = figures.draw_segmentations(picture, true == 1, {"task": said[0] == 1})
    yield Drawn("", "outlines", svg, judged)
    place = domains.place(row)
    if place is not None and isinstance(task, Translator):
        here, there = domains.names()[:: -1 if place else 1]
        yield _translated(task, frames, picture, here=here, there=there, source=place == 0)


def _of_domain(row: Row) -> str:
    return row.get("domain") or "domain not known"


@torch.no_grad()
def _translated(
    task: Translator,
    frames: Float[Tensor, "1 1 H W"],
    picture: UInt8[np.ndarray, "H W"],
    *,
    here: str,
    there: str,
    source: bool,
) -> Drawn:
    """The frame, as the other domain would show it, and back again."""
    other, back = (
        (255 * one[0, 0].clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
        for one in task.translate_and_reconstruct(frames, source=source)
    )
    row = [(f"{here} frame", picture), (f"as {there}", other), ("back", back)]
    off = np.abs(back.astype(int) - picture).mean()
    caption = f"{here} as {there}: comes back {off:.1f} of 255 greys off on average"
    return Drawn("-translated", "translations", figures.draw_translations([row]), caption)
