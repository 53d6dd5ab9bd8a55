"""The findings of a phantom lung, and the ground truth that follows from them without error.

Why findings are cumulative: a lung of grade s also shows what grade s - 1 shows, so that the
milder frames of a clip are the same lung with its worst findings out of view.
Lengths are millimetres; `x_mm` is the lateral position on the pleura, 0 in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lus_ray.clip import BIOMARKER_GROUPS
from lus_ray.data.phantom.patient import Patient

WINDOW_MM = 26.0
"""Pleura between two ribs; every finding lies in it."""

SMALL_MM = 10.0
"""Largest size of a consolidation that still counts as small (grade 2)."""


@dataclass(frozen=True)
class Spot:
    """An indent, a break or a consolidation: its middle and its size."""

    x_mm: float
    size_mm: float


@dataclass(frozen=True)
class BLine:
    """A vertical artefact; `reach` is the share of the image below the pleura that it crosses."""

    x_mm: float
    width_mm: float
    strength: float
    reach: float


Spots = tuple[Spot, ...]


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Lesions of the lung; `white` is the share of the window without any striation."""

    white: float
    indents: Spots
    breaks: Spots
    consolidations: Spots


@dataclass(frozen=True, kw_only=True)
class LungFindings(Lesions):
    """Everything the lung shows; `a_level` is 0 none, 1 weak, 2 strong."""

    a_level: int
    num_a_lines: int
    a_width_mm: float
    b_lines: tuple[BLine, ...]
    sub_pleural: bool
    thickness_mm: float
    effusion_mm: float


def grade_severity(findings: LungFindings) -> int:
    """The grade 0-3 of the worst finding (Soldati 2020)."""
    largest = max((spot.size_mm for spot in findings.consolidations), default=0.0)
    if findings.white > 0 or largest > SMALL_MM:
        return 3
    if findings.breaks or findings.consolidations:
        return 2
    return int(bool(findings.indents or findings.b_lines))


def reduce_grade(findings: LungFindings) -> LungFindings:
    """The same lung with the findings of its grade out of view: exactly one grade less."""
    grade = grade_severity(findings)
    if grade == 3:
        small = tuple(spot for spot in findings.consolidations if spot.size_mm <= SMALL_MM)
        breaks = findings.breaks or (Spot(0.0, 3.0),)
        return replace(findings, white=0.0, consolidations=small, breaks=breaks)
    if grade == 2:
        indents = findings.indents or (() if findings.b_lines else (Spot(0.0, 3.0),))
        return replace(findings, breaks=(), consolidations=(), sub_pleural=False, indents=indents)
    return replace(findings, b_lines=(), indents=())


def label_biomarkers(findings: LungFindings, patient: Patient) -> list[int]:
    """The 38 biomarkers, 0 or 1: one level per group; A-lines may be "stacked" and "wide" too."""
    num_lines = _level(len(findings.b_lines), (1, 4, 7), "B-lines")
    depth = patient.pleura_mm / patient.height_mm
    ticked = {
        "A-lines": {("none", "weak", "strong")[findings.a_level]},
        "B-lines": {"white" if findings.white > 0 else num_lines},
        "B-line origin": {"not applicable"},
        "pleural thickness": {_level(findings.thickness_mm, (1.5, 3.5, 5.0), "pleural thickness")},
        "pleural location": {_level(depth, (1 / 3, 2 / 3), "pleural location")},
        "pleural indent": {_spots(findings.indents)},
        "pleural break": {_spots(findings.breaks)},
        "consolidation": {_spots(findings.consolidations)},
        "effusion": {_level(findings.effusion_mm, (0.1, 5.0), "effusion")},
    }
    if findings.white > 0 or findings.b_lines:
        ticked["B-line origin"] = {"sub-pleura" if findings.sub_pleural else "pleura"}
    if findings.a_level and findings.num_a_lines > 1:
        ticked["A-lines"].add("stacked")
    if findings.a_level and findings.a_width_mm > 20:
        ticked["A-lines"].add("wide")
    groups = BIOMARKER_GROUPS.items()
    return [int(level in ticked[group]) for group, levels in groups for level in levels]


def _level(value: float, edges: Sequence[float], group: str) -> str:
    return BIOMARKER_GROUPS[group][int(np.digitize(value, edges))]


def _spots(spots: Spots) -> str:
    if not spots:
        return "none"
    largest = max(spot.size_mm for spot in spots)
    if largest < 5:
        return "< 5 mm few" if len(spots) < 3 else "< 5 mm multiple"
    return "5-10 mm" if largest <= 10 else "> 10 mm"
