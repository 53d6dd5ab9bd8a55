"""Human error in phantom labels: ratings with a known confusion, segmentations with jitter."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.data.phantom.findings import LungFindings
from lus_ray.data.phantom.lung import Lung
from lus_ray.data.phantom.patient import Domain

NUM_RATERS = 5
"""Raters per clip, as in Roy 2020 (five clinicians, who agreed in 67 % of clips)."""


def rater_confusion(domain: Domain, difficulty: float) -> Float[np.ndarray, "K K"]:
    """P(rating is column | truth is row); errors are one grade off, never more.

    The error rate is 0.06 + 0.36 difficulty (0.24 by default), 1.5 times that in domain B.
    """
    error = (0.06 + 0.36 * difficulty) * (1.5 if domain == "B" else 1.0)
    table = np.eye(NUM_SEVERITIES) * (1 - error)
    for grade in range(NUM_SEVERITIES):
        neighbours = [k for k in (grade - 1, grade + 1) if 0 <= k < NUM_SEVERITIES]
        table[grade, neighbours] = error / len(neighbours)
    return table


def sample_ratings(
    grade: int, domain: Domain, difficulty: float, *, rng: np.random.Generator
) -> list[int]:
    row = rater_confusion(domain, difficulty)[grade]
    return rng.choice(NUM_SEVERITIES, size=NUM_RATERS, p=row).tolist()


def jitter_segmentation(lung: Lung, jitter_mm: float, rng: np.random.Generator) -> Lung:
    """The lung as an unsteady hand segments it: B-lines off by about `jitter_mm`."""
    if jitter_mm == 0:
        return lung
    rest = _jitter_b_lines(lung.rest, jitter_mm, rng)
    return replace(lung, rest=rest, worst=_jitter_b_lines(lung.worst, jitter_mm, rng))


def _jitter_b_lines(
    findings: LungFindings, jitter_mm: float, rng: np.random.Generator
) -> LungFindings:
    moved = tuple(
        replace(
            line,
            x_mm=line.x_mm + jitter_mm * rng.standard_normal(),
            width_mm=max(1.0, line.width_mm * float(np.exp(0.3 * rng.standard_normal()))),
            reach=float(np.clip(line.reach + 0.1 * rng.standard_normal(), 0.3, 1.0)),
        )
        for line in findings.b_lines
    )
    return replace(findings, b_lines=moved)
