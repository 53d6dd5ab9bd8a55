"""Net benefit of the main arms on the questions that a label asks.

Letters: K classes, T thresholds.
A label of named classes asks for each against the rest. One of grades asks for each grade or worse.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from lus_ray.data.labels import label_name
from lus_ray.evaluation.external.estimates import Cells, Resampling
from lus_ray.evaluation.external.schema import ArmBenefit, DecisionCurve
from lus_ray.evaluation.results import CellResult
from lus_ray.metrics import classification, decision_curve
from lus_ray.metrics.bootstrap import LEVEL, MIN_RESAMPLED
from lus_ray.metrics.decision_curve import DecisionCounts

DIGITS = 5
"""Decimal places of a net benefit in JSON."""


def draw_decisions(
    label: str, arms: Mapping[str, Cells], sampling: Resampling, *, ordered: bool
) -> Iterable[DecisionCurve]:
    """One curve per question, of the arms that test the same clips as the first."""
    every = {name: _flatten(cells) for name, cells in arms.items()}
    every = {name: cells for name, cells in every.items() if cells}
    if not every:
        return
    first = next(iter(every.values()))
    same = {
        n: own for n, own in every.items() if [c.clips for c in own] == [c.clips for c in first]
    }
    target, classes = first[0].target, first[0].classes
    for question, chosen in ask(label, classes, ordered=ordered):
        positive = np.isin(target, chosen)
        counts = {name: _count(cells, chosen) for name, cells in same.items()}
        own = next(iter(counts.values()))[0]
        yield DecisionCurve(
            label=label,
            question=question,
            num_patients=len(own.patients),
            num_clips=len(positive),
            num_positive=int(positive.sum()),
            thresholds=tuple(decision_curve.THRESHOLDS.tolist()),
            treat_all=_rounded(own.treat_all(np.ones((1, len(own.patients))))[0]),
            arms=tuple(_benefit(name, cells, sampling) for name, cells in counts.items()),
        )


def ask(label: str, classes: Sequence[str], *, ordered: bool) -> list[tuple[str, list[int]]]:
    """Questions of a label, each with the numbers of the classes that answer it with yes."""
    name, numbers = label_name(label), range(len(classes))
    sets = [list(numbers[k:]) for k in numbers[1:]] if ordered else [[k] for k in numbers]
    return [(f"{name} {_either([classes[k] for k in own])}", own) for own in sets]


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _flatten(cells: Cells) -> list[CellResult]:
    return [
        cell
        for by_seed in cells.values()
        for cell in by_seed.values()
        if not classification.explain_unusable(cell.probability)
    ]


def _count(cells: Sequence[CellResult], chosen: Sequence[int]) -> list[DecisionCounts]:
    return [
        decision_curve.count_decisions(
            cell.patients,
            np.isin(cell.target, chosen),
            cell.probability[:, list(chosen)].sum(axis=1).astype(np.float64),
        )
        for cell in cells
    ]


def _benefit(name: str, counts: Sequence[DecisionCounts], sampling: Resampling) -> ArmBenefit:
    """Means over folds and seeds with limits at each threshold."""
    ones = [np.ones((1, len(own.patients))) for own in counts]
    value = np.mean([own.net_benefit(w)[0] for own, w in zip(counts, ones, strict=True)], axis=0)
    drawn = np.mean([own.net_benefit(sampling.weigh(own.patients)) for own in counts], axis=0)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    nothing = np.full_like(value, np.nan)
    low, high = nothing, nothing
    if len(counts[0].patients) >= MIN_RESAMPLED:
        low, high = np.quantile(drawn, tails, axis=0)
    return ArmBenefit(name=name, value=_rounded(value), low=_rounded(low), high=_rounded(high))


def _rounded(values: Float[np.ndarray, "T"]) -> tuple[float, ...]:
    return tuple(np.round(values, DIGITS).tolist())
