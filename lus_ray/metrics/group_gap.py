"""The gap between the best and the worst group, with an interval that covers their choice.

Letters: G groups, D draws of patients.
The largest of several noisy differences is too large, and its plain bootstrap interval excludes 0
even where all groups are equal. So one interval covers the differences of all pairs at once: their
studentised deviations from the observed ones are compared with the quantile of their maximum
(max-t; Romano and Wolf 2005, Montiel Olea and Plagborg-Moller 2019). Where that holds, the true gap
lies between the largest lower and the largest upper limit. The lower one is at least 0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lus_ray.metrics.bootstrap import LEVEL, MIN_DEFINED, Interval


@dataclass(frozen=True)
class GroupGap:
    """Numbers of the best and the worst group, and best minus worst."""

    best: int
    worst: int
    value: float
    interval: Interval


def worst_gap(
    values: Float[np.ndarray, "G"], draws: Float[np.ndarray, "G D"], *, level: float = LEVEL
) -> GroupGap:
    """The gap of groups with a metric each, and their metrics in the same draws of patients.

    Raises:
        ValueError: fewer than two groups.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} groups; a gap needs two")
    best, worst = int(np.argmax(values)), int(np.argmin(values))
    gap = float(values[best] - values[worst])
    defined = draws[:, np.isfinite(draws).all(axis=0)]
    if defined.shape[1] < MIN_DEFINED * draws.shape[1]:
        reason = f"all groups are defined in only {defined.shape[1]} of {draws.shape[1]} draws"
        return GroupGap(best, worst, gap, Interval(float("nan"), float("nan"), reason))
    first, second = np.triu_indices(len(values), 1)
    observed = values[first] - values[second]
    deviations = defined[first] - defined[second] - observed[:, None]
    error = deviations.std(axis=1)
    t = np.divide(
        np.abs(deviations), error[:, None], out=np.zeros_like(deviations), where=error[:, None] > 0
    )
    reach = np.quantile(t.max(axis=0), level) * error
    low = max(0.0, float((np.abs(observed) - reach).max()))
    return GroupGap(best, worst, gap, Interval(low, float((np.abs(observed) + reach).max())))
