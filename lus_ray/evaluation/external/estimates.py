"""Any measure of an arm as a mean over folds and seeds with an interval over patients.

Letters: D draws, P patients, M repetitions (one less than the most seeds of a cell).
A measure is a `PatientCounts` of each cell, so that all measures share the draws of patients and
are combined as the metrics of the report are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation.external.schema import Estimate
from lus_ray.evaluation.results import CellResult
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import bootstrap
from lus_ray.metrics.bootstrap import Interval
from lus_ray.metrics.patient_counts import PatientCounts
from lus_ray.metrics.training_seeds import SeedMetric

Cells = Mapping[int, Mapping[int, CellResult]]
"""Cells by fold and seed."""


@dataclass(frozen=True)
class Sampled:
    """A value and the same in each draw; NaN where it is undefined."""

    value: float
    draws: Float[np.ndarray, "D"]
    num_patients: int

    def estimate(self) -> Estimate:
        if not np.isfinite(self.value):
            return Estimate(reason="undefined")
        limits = bootstrap.percentile_interval(self.draws, num_patients=self.num_patients)
        return to_estimate(self.value, limits)


@dataclass(frozen=True)
class Resampling:
    """The same draws of patients, and of seeds by fold, for all measures of a label."""

    patients: tuple[str, ...]
    weights: Float[np.ndarray, "D P"]
    picks: Mapping[int, Float[np.ndarray, "M D"]]

    def weigh(self, patients: Sequence[str]) -> Float[np.ndarray, "D _"]:
        """The draws of these patients."""
        column = {name: number for number, name in enumerate(self.patients)}
        return self.weights[:, [column[name] for name in patients]]

    def measure(self, counts: Mapping[int, Mapping[int, PatientCounts]]) -> dict[str, Sampled]:
        """Means over the folds and seeds in which a measure is defined."""
        values: dict[str, dict[int, list[tuple[float, np.ndarray]]]] = {}
        for fold, by_seed in counts.items():
            for own in by_seed.values():
                observed = own.metrics(np.ones((1, len(own.patients))))
                drawn = own.metrics(self.weigh(own.patients))
                for name, value in observed.items():
                    folds = values.setdefault(name, {})
                    if np.isfinite(value[0]):
                        folds.setdefault(fold, []).append((float(value[0]), drawn[name]))
        patients = {
            p for by_seed in counts.values() for own in by_seed.values() for p in own.patients
        }
        return {name: self._combine(folds, len(patients)) for name, folds in values.items()}

    def _combine(
        self, folds: Mapping[int, list[tuple[float, np.ndarray]]], num_patients: int
    ) -> Sampled:
        nothing = np.full(len(self.weights), np.nan)
        no_picks = np.zeros((0, len(self.weights)))
        if not folds:
            return Sampled(float("nan"), nothing, num_patients)
        metric = SeedMetric(
            values=[np.array([value for value, _ in own]) for own in folds.values()],
            draws=[np.stack([drawn for _, drawn in own]) for own in folds.values()],
            picks=[self.picks.get(fold, no_picks) for fold in folds],
        )
        return Sampled(metric.mean, metric.sample(), num_patients)


def resample(arms: Iterable[ScoredArm], *, num_draws: int, rng: np.random.Generator) -> Resampling:
    """Draws of the tested patients of these arms."""
    cells = [cell for arm in arms for cell in arm.cells.values()]
    patients = sorted({patient for cell in cells for patient in cell.patients})
    weights = np.zeros((num_draws, 0))
    if patients:
        weights = bootstrap.resample_patients(len(patients), num_draws=num_draws, rng=rng)
    num_picks = max((len(cell.repeats) for cell in cells), default=0)
    folds = sorted({cell.fold for cell in cells})
    return Resampling(
        tuple(patients), weights, {fold: rng.random((num_picks, num_draws)) for fold in folds}
    )


def measure_pooled(counts: PatientCounts, sampling: Resampling) -> dict[str, Sampled]:
    """Measures of examples that were pooled over folds and seeds."""
    return sampling.measure({-1: {0: counts}})


def cells_of(arm: ScoredArm) -> Cells:
    """The cells of an arm with an annotated example."""
    return {
        fold: known
        for fold, cell in sorted(arm.cells.items())
        if (known := {seed: own for seed, own in cell.by_seed.items() if own.clips})
    }


def to_estimate(value: float, interval: Interval) -> Estimate:
    return Estimate(value=value, interval=(interval.low, interval.high), reason=interval.reason)
