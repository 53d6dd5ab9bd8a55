"""Intervals by resampling patients, and paired differences over the same draws.

Letters: D draws, P patients.
Clips of one patient are not independent, so a draw takes as many patients as there are, with
replacement and with all their clips. Each fold is scored on its own patients of the draw, and folds
are averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lus_ray.metrics.patient_counts import PatientCounts

LEVEL = 0.95
MIN_PATIENTS = 20
"""With fewer, intervals are too narrow to decide anything."""
MIN_RESAMPLED = 4
"""With fewer, draws hardly differ, and there is no interval."""
MIN_DEFINED = 0.5
"""An interval needs this share of draws in which the metric is defined."""


@dataclass(frozen=True)
class Interval:
    """Limits as fractions of 1; both NaN with a reason where they are undefined."""

    low: float
    high: float
    reason: str = ""


def resample_patients(
    num_patients: int, *, num_draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "D P"]:
    """Number of times each patient is in each draw; every row sums to the number of patients."""
    share = np.full(num_patients, 1 / num_patients)
    return rng.multinomial(num_patients, share, size=num_draws).astype(np.float64)


def metrics_by_cell(
    counts: Mapping[int, PatientCounts], patients: Sequence[str], weights: Float[np.ndarray, "D P"]
) -> dict[int, dict[str, Float[np.ndarray, "D"]]]:
    """Metrics by cell, name and draw; `patients` names the columns of `weights`."""
    column = {name: number for number, name in enumerate(patients)}
    return {
        number: of_cell.metrics(weights[:, [column[name] for name in of_cell.patients]])
        for number, of_cell in counts.items()
    }


def percentile_interval(
    values: Float[np.ndarray, "D"], *, num_patients: int, level: float = LEVEL
) -> Interval:
    """Percentile interval over the draws in which the metric is defined."""
    nothing = float("nan")
    defined = values[np.isfinite(values)]
    if num_patients < MIN_RESAMPLED:
        reason = f"{num_patients} patients, fewer than {MIN_RESAMPLED}, cannot be resampled"
        return Interval(nothing, nothing, reason)
    if len(defined) < MIN_DEFINED * len(values):
        reason = f"defined in only {len(defined)} of {len(values)} draws of patients"
        return Interval(nothing, nothing, reason)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
