"""Arms with their scores, and intervals over resampled patients and training seeds.

Shapes: D draws, P patients, M repetitions (one less than the most seeds of a cell).
All arms of a label are scored on the same draws of patients, so that the difference between two
arms is paired; it is paired by seed as well.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from lus_ray.data.labels import label_name
from lus_ray.evaluation import scoring
from lus_ray.evaluation.results import CellResult
from lus_ray.metrics import bootstrap, multilabel
from lus_ray.metrics.bootstrap import Interval
from lus_ray.metrics.classification import Scores
from lus_ray.metrics.training_seeds import SeedMetric
from lus_ray.runs.cell import name_fold


@dataclass(frozen=True)
class SeedScores:
    """Scores of one cell, and its metrics in each draw of patients."""

    scores: Scores
    draws: dict[str, Float[np.ndarray, "D"]]


@dataclass(frozen=True)
class ScoredArm:
    """An arm with the scores of its finished cells and the draws of their patients.

    `scores` of a fold are means over its seeds, `by_seed` those of each seed. `planned` are folds,
    each with `num_seeds` seeds.

    Arms of one `family` apply different methods to the same features under the same protocol;
    each network is its own family.
    """

    name: str
    label: str | None
    baseline: bool
    family: tuple[Hashable, ...]
    planned: tuple[int, ...]
    cells: dict[int, CellResult]
    scores: dict[int, Scores] = field(default_factory=dict)
    by_seed: dict[int, dict[int, SeedScores]] = field(default_factory=dict)
    picks: dict[int, Float[np.ndarray, "M D"]] = field(default_factory=dict)
    num_seeds: int = 1

    @property
    def missing(self) -> list[int]:
        """Folds without some of their seeds."""
        return list(dict.fromkeys(fold for fold, _ in self.missing_cells))

    @property
    def missing_cells(self) -> list[tuple[int, int]]:
        """Fold and seed of every unfinished cell."""
        return [
            (fold, seed)
            for fold in self.planned
            for seed in range(self.num_seeds)
            if fold not in self.cells or seed not in self.cells[fold].by_seed
        ]

    @property
    def every_cell(self) -> list[CellResult]:
        return [own for cell in self.cells.values() for own in cell.by_seed.values()]

    @property
    def patients(self) -> set[str]:
        return {patient for cell in self.cells.values() for patient in cell.patients}

    def patients_of(self, metric: str) -> set[str]:
        return {p for cell in self.cells.values() for p in scoring.patients_of(cell, metric)}

    def defined_folds(self, metric: str) -> tuple[int, ...]:
        return tuple(
            fold
            for fold, scores in sorted(self.scores.items())
            if np.isfinite(scores.values.get(metric, np.nan))
        )

    def values(self, metric: str, folds: Sequence[int] | None = None) -> list[float]:
        return [
            self.scores[f][metric] for f in (self.defined_folds(metric) if folds is None else folds)
        ]

    def mean(self, metric: str) -> float:
        """Mean over the folds in which the metric is defined; NaN where there is none."""
        return multilabel.mean(self.values(metric))

    def std(self, metric: str) -> float:
        """Population standard deviation (ddof 0) over the same folds; NaN for fewer than two."""
        values = self.values(metric)
        return float(np.std(values)) if len(values) > 1 else float("nan")

    def defined_seeds(self, metric: str, fold: int) -> list[int]:
        known = self.by_seed.get(fold, {})
        return [s for s, own in known.items() if np.isfinite(own.scores.values.get(metric, np.nan))]

    def by_fold(self, metric: str, seeds: Mapping[int, Sequence[int]] | None = None) -> SeedMetric:
        """The metric in these folds and seeds; without `seeds`, wherever it is defined."""
        if seeds is None:
            seeds = {f: self.defined_seeds(metric, f) for f in self.defined_folds(metric)}
        known = [[self.by_seed[fold][seed] for seed in own] for fold, own in seeds.items()]
        return SeedMetric(
            values=[np.array([own.scores[metric] for own in fold]) for fold in known],
            draws=[np.stack([own.draws[metric] for own in fold]) for fold in known],
            picks=[self.picks[fold] for fold in seeds],
        )

    def interval(self, metric: str) -> Interval:
        if not self.defined_folds(metric):
            return Interval(float("nan"), float("nan"), self.why_undefined(metric))
        drawn = self.by_fold(metric).sample()
        return bootstrap.percentile_interval(drawn, num_patients=len(self.patients_of(metric)))

    def why_undefined(self, metric: str) -> str:
        """Why the metric is undefined in some folds; empty where it is defined in all."""
        reasons = [f"{name_fold(*cell)} is not finished" for cell in self.missing_cells]
        folds_by_reason: dict[str, list[int]] = {}
        for fold, scores in sorted(self.scores.items()):
            if metric in scores.undefined or metric not in scores.values:
                unknown = f"{metric} is not a metric of {label_name(self.label or '')}"
                reason = scores.undefined.get(metric, unknown)
                folds_by_reason.setdefault(reason, []).append(fold)
        for reason, folds in folds_by_reason.items():
            reasons.append(f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}: {reason}")
        return "; ".join(reasons)


Arms = Mapping[str, ScoredArm]
"""Arms by name."""


def score_arms(
    arms: Sequence[ScoredArm],
    *,
    num_draws: int,
    rng: np.random.Generator,
    roles: Sequence[str] = (),
) -> dict[str, ScoredArm]:
    """Score the arms of one label on the same draws of patients; masks also by role."""
    patients = sorted({patient for arm in arms for patient in arm.patients})
    weights = np.zeros((num_draws, 0))
    if patients:
        weights = bootstrap.resample_patients(len(patients), num_draws=num_draws, rng=rng)
    cells = [cell for arm in arms for cell in arm.cells.values()]
    num_picks = max((len(cell.repeats) for cell in cells), default=0)
    folds = sorted({cell.fold for cell in cells})
    picks = {fold: rng.random((num_picks, num_draws)) for fold in folds}
    scored = {}
    for arm in arms:
        by_seed: dict[int, dict[int, SeedScores]] = {}
        for fold, cell in arm.cells.items():
            counts = {s: scoring.count_patients(own, roles) for s, own in cell.by_seed.items()}
            usable = {seed: known for seed, known in counts.items() if known is not None}
            draws = bootstrap.metrics_by_cell(usable, patients, weights)
            by_seed[fold] = {
                seed: SeedScores(scoring.score_cell(own, roles), draws.get(seed, {}))
                for seed, own in cell.by_seed.items()
            }
        means = {f: mean_scores([s.scores for s in own.values()]) for f, own in by_seed.items()}
        scored[arm.name] = replace(arm, scores=means, by_seed=by_seed, picks=picks)
    return scored


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Means over seeds, each over those that define the metric."""
    first = scores[0]
    if len(scores) == 1:
        return first
    names = dict.fromkeys(name for own in scores for name in own.values)
    values = {n: multilabel.mean([own.values.get(n, np.nan) for own in scores]) for n in names}
    reasons = {name: why for own in scores for name, why in own.undefined.items()}
    undefined = {name: why for name, why in reasons.items() if not np.isfinite(values[name])}
    if isinstance(first, multilabel.MultilabelScores):
        tables = [own.by_label for own in scores if isinstance(own, multilabel.MultilabelScores)]
        known = [table for table in tables if table]
        labels = {
            k: mean_scores([table[k] for table in known]) for k in (known[0] if known else ())
        }
        return replace(first, values=values, undefined=undefined, by_label=labels or None)
    return replace(first, values=values, undefined=undefined)


def best_arm(arms: Sequence[ScoredArm], metric: str) -> ScoredArm | None:
    """The arm with the highest mean, the first of ties; None where no arm has a mean."""
    scored = [arm for arm in arms if arm.defined_folds(metric)]
    return max(scored, key=lambda arm: arm.mean(metric), default=None)


def first_metric(arms: Sequence[ScoredArm], metrics: Sequence[str]) -> str:
    """The first metric with a score of these arms; it decides which arm is the best."""
    scored = [scores.values for arm in arms for scores in arm.scores.values()]
    known = {name for values in scored for name, value in values.items() if np.isfinite(value)}
    return next((metric for metric in metrics if metric in known), metrics[0])


def choose_highlights(
    arms: Sequence[ScoredArm], metric: str, *, also: Sequence[str] = (), limit: int = 6
) -> list[str]:
    """At most `limit` arms to draw: the best baseline, those in `also`, the best of each family."""
    baselines = [arm for arm in arms if arm.baseline]
    families: dict[tuple[Hashable, ...], list[ScoredArm]] = {}
    for arm in arms:
        if not arm.baseline:
            families.setdefault(arm.family, []).append(arm)
    first = best_arm(baselines, metric)
    winners = [arm for arm in (best_arm(f, metric) for f in families.values()) if arm is not None]
    winners.sort(key=lambda arm: -arm.mean(metric))
    named = (arm for arm in arms if arm.name in also and arm.defined_folds(metric))
    chosen = dict.fromkeys(arm.name for arm in (first, *named, *winners) if arm is not None)
    return [arm.name for arm in arms if arm.name in list(chosen)[:limit]]
