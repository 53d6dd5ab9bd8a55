"""The signs a phantom lung shows at one moment, and all that is called truth about them.

Severity, the milder state and the 38 biomarkers are read off the signs without error, as masks
are (`phantom_masks`). Why signs are cumulative: a lung of grade s also shows what grade s - 1
shows, so that the milder moments of a clip are the same lung with its worst signs out of sight.

Lengths are millimetres; `x_mm` is the lateral place on the pleura, 0 in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lus_ray.clip import BIOMARKER_GROUPS
from lus_ray.data.phantom.patient import Patient

WINDOW_MM = 26.0
"""Pleura between two ribs; every sign lies in it."""

SMALL_MM = 10.0
"""Largest size of a consolidation that still counts as small (grade 2)."""


@dataclass(frozen=True)
class Spot:
    """An indent, a break or a consolidation: its middle and its size."""

    x_mm: float
    size_mm: float


@dataclass(frozen=True)
class BLine:
    """A vertical artefact; `reach` is the share of the picture below the pleura that it crosses."""

    x_mm: float
    width_mm: float
    strength: float
    reach: float


Spots = tuple[Spot, ...]


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """What the lung has lost; `white` is the share of the window without any striation."""

    white: float
    indents: Spots
    breaks: Spots
    consolidations: Spots


@dataclass(frozen=True, kw_only=True)
class Signs(Lesions):
    """What the lung shows at one moment; `a_level` is 0 none, 1 weak, 2 strong."""

    a_level: int
    num_a_lines: int
    a_width_mm: float
    b_lines: tuple[BLine, ...]
    sub_pleural: bool
    thickness_mm: float
    effusion_mm: float


def severity(signs: Signs) -> int:
    """The grade 0-3 of what is seen (Soldati 2020), by its worst sign."""
    largest = max((spot.size_mm for spot in signs.consolidations), default=0.0)
    if signs.white > 0 or largest > SMALL_MM:
        return 3
    if signs.breaks or signs.consolidations:
        return 2
    return int(bool(signs.indents or signs.b_lines))


def milder(signs: Signs) -> Signs:
    """The same lung with the signs of its grade out of sight: exactly one grade less."""
    grade = severity(signs)
    if grade == 3:
        small = tuple(spot for spot in signs.consolidations if spot.size_mm <= SMALL_MM)
        breaks = signs.breaks or (Spot(0.0, 3.0),)
        return replace(signs, white=0.0, consolidations=small, breaks=breaks)
    if grade == 2:
        indents = signs.indents or (() if signs.b_lines else (Spot(0.0, 3.0),))
        return replace(signs, breaks=(), consolidations=(), sub_pleural=False, indents=indents)
    return replace(signs, b_lines=(), indents=())


def biomarkers(signs: Signs, patient: Patient) -> list[int]:
    """The 38 answers for one moment, in the order of `BIOMARKERS`; all of them are judged.

    One box per group is ticked, and for A-lines "stacked" and "wide" beside it where they apply.
    """
    ticked = {
        "A-lines": {("none", "weak", "strong")[signs.a_level]},
        "B-lines": {"white" if signs.white > 0 else _count(len(signs.b_lines))},
        "B-line origin": {"not applicable"},
        "pleural thickness": {_level(signs.thickness_mm, (1.5, 3.5, 5.0), "pleural thickness")},
        "pleural location": {
            _level(patient.pleura_mm / patient.height_mm, (1 / 3, 2 / 3), "pleural location")
        },
        "pleural indent": {_spots(signs.indents)},
        "pleural break": {_spots(signs.breaks)},
        "consolidation": {_spots(signs.consolidations)},
        "effusion": {_level(signs.effusion_mm, (0.1, 5.0), "effusion")},
    }
    if signs.white > 0 or signs.b_lines:
        ticked["B-line origin"] = {"sub-pleura" if signs.sub_pleural else "pleura"}
    if signs.a_level and signs.num_a_lines > 1:
        ticked["A-lines"].add("stacked")
    if signs.a_level and signs.a_width_mm > 20:
        ticked["A-lines"].add("wide")
    groups = BIOMARKER_GROUPS.items()
    return [int(level in ticked[group]) for group, levels in groups for level in levels]


def _count(num_lines: int) -> str:
    return ("none", "few", "some", "many")[int(np.digitize(num_lines, (1, 4, 7)))]


def _level(value: float, edges: Sequence[float], group: str) -> str:
    return BIOMARKER_GROUPS[group][int(np.digitize(value, edges))]


def _spots(spots: Spots) -> str:
    if not spots:
        return "none"
    largest = max(spot.size_mm for spot in spots)
    if largest < 5:
        return "< 5 mm few" if len(spots) < 3 else "< 5 mm multiple"
    return "5-10 mm" if largest <= 10 else "> 10 mm"
