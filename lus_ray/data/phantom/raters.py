"""What people make of a phantom clip: grades read with a stated error, outlines drawn unsteadily.

Nothing here is truth: `confusion` states how far readings are from it, `jitter_mm` how far
outlines are.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.data.phantom.findings import BLine, Signs
from lus_ray.data.phantom.lung import Lung
from lus_ray.data.phantom.patient import Domain

NUM_RATERS = 5
"""Readers per clip, as in Roy 2020 (five clinicians, who agreed in 67 % of clips)."""


def confusion(domain: Domain, difficulty: float) -> Float[np.ndarray, "K K"]:
    """P(reader says column | truth is row): errors are one grade off, never more.

    A reader errs with 0.06 + 0.36 difficulty (0.24 at the default), half as often again in B.
    """
    error = (0.06 + 0.36 * difficulty) * (1.5 if domain == "B" else 1.0)
    table = np.eye(NUM_SEVERITIES) * (1 - error)
    for grade in range(NUM_SEVERITIES):
        neighbours = [k for k in (grade - 1, grade + 1) if 0 <= k < NUM_SEVERITIES]
        table[grade, neighbours] = error / len(neighbours)
    return table


def read_by_raters(
    grade: int, domain: Domain, difficulty: float, *, rng: np.random.Generator
) -> list[int]:
    """Independent readings of one clip, drawn from `confusion`."""
    row = confusion(domain, difficulty)[grade]
    return [int(k) for k in rng.choice(NUM_SEVERITIES, size=NUM_RATERS, p=row)]


def outlined(lung: Lung, jitter_mm: float, rng: np.random.Generator) -> Lung:
    """The lung as an unsteady hand outlines it: B-lines off by about `jitter_mm`."""
    rest, worst = (_outline(signs, jitter_mm, rng) for signs in (lung.rest, lung.worst))
    return replace(lung, rest=rest, worst=worst)


def _outline(signs: Signs, jitter_mm: float, rng: np.random.Generator) -> Signs:
    if jitter_mm == 0:
        return signs
    moved = tuple(
        BLine(
            x_mm=line.x_mm + jitter_mm * rng.standard_normal(),
            width_mm=max(1.0, line.width_mm * float(np.exp(0.3 * rng.standard_normal()))),
            strength=line.strength,
            reach=float(np.clip(line.reach + 0.1 * rng.standard_normal(), 0.3, 1.0)),
        )
        for line in signs.b_lines
    )
    return replace(signs, b_lines=moved)
