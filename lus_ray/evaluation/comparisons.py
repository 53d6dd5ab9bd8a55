"""Differences between two arms of one label, paired over the same draws of patients."""

from dataclasses import dataclass

import numpy as np

from lus_ray.evaluation import scoring
from lus_ray.evaluation.results import Cell
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import bootstrap
from lus_ray.metrics.bootstrap import Interval


@dataclass(frozen=True)
class Difference:
    """A metric of one arm minus that of another, over the folds that both have."""

    value: float
    interval: Interval
    folds: tuple[int, ...]
    reason: str = ""


def difference(one: ScoredArm, other: ScoredArm, metric: str) -> Difference:
    """`one` minus `other`, paired over patients, with its 95 % interval."""
    nothing = Interval(float("nan"), float("nan"))
    folds = tuple(f for f in one.defined(metric) if f in other.defined(metric))
    if not folds:
        silent = one if not one.defined(metric) else other
        reason = f"{silent.name}: {silent.why(metric) or 'no fold in common'}"
        return Difference(float("nan"), nothing, (), reason)
    for fold in folds:
        if one.cells[fold].clips != other.cells[fold].clips:
            unit = _unit(one.cells[fold])
            reason = f"{one.name} and {other.name} were tested on different {unit} in fold {fold}"
            return Difference(float("nan"), nothing, (), reason)
    drawn = [bootstrap.mean_over_folds(arm.draws, metric, folds) for arm in (one, other)]
    value = np.mean(one.values(metric, folds)) - np.mean(other.values(metric, folds))
    tested = {p for fold in folds for p in scoring.patients(one.cells[fold], metric)}
    limits = bootstrap.percentile_interval(drawn[0] - drawn[1], num_patients=len(tested))
    return Difference(float(value), limits, folds, limits.reason)


def difference_of_means(one: ScoredArm, other: ScoredArm, metric: str) -> Difference:
    """`one` minus `other`, each the mean over its own folds, over the same draws of patients.

    For arms that test the same patients, but other images of them in each fold.
    """
    nothing = Interval(float("nan"), float("nan"))
    for arm in (one, other):
        if not arm.defined(metric) or arm.missing:
            reason = f"{arm.name}: {arm.why(metric) or 'no fold is finished'}"
            return Difference(float("nan"), nothing, (), reason)
    if one.patients != other.patients:
        reason = f"{one.name} and {other.name} were tested on different patients"
        return Difference(float("nan"), nothing, (), reason)
    drawn = [
        bootstrap.mean_over_folds(arm.draws, metric, arm.defined(metric)) for arm in (one, other)
    ]
    limits = bootstrap.percentile_interval(
        drawn[0] - drawn[1], num_patients=len(one.behind(metric))
    )
    value = one.mean(metric) - other.mean(metric)
    return Difference(value, limits, one.defined(metric), limits.reason)


def _unit(cell: Cell) -> str:
    return "images" if cell.scheme else "frames" if cell.by_frame else "clips"
