"""From cells to the numbers of the report: metrics and their intervals.

Letters: D draws, P patients.
Every arm of a label is scored on the same draws of patients, so that a difference between two
arms is paired: what makes a patient hard is hard for both.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation import mask_arms, scoring
from lus_ray.evaluation.results import Cell
from lus_ray.metrics import bootstrap, calibration, classification, multilabel
from lus_ray.metrics.bootstrap import Interval
from lus_ray.metrics.classification import Scores

Draws = dict[str, Float[np.ndarray, "D"]]


@dataclass(frozen=True)
class ScoredArm:
    """An arm with the scores of its finished cells and the draws of their patients.

    Arms of one `family` differ only in the method that reads the same features, by one protocol;
    a network is a family of its own.
    """

    name: str
    label: str | None
    baseline: bool
    family: tuple[Hashable, ...]
    planned: tuple[int, ...]
    cells: dict[int, Cell]
    scores: dict[int, Scores] = field(default_factory=dict)
    draws: dict[int, Draws] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """Folds that are not finished."""
        return [fold for fold in self.planned if fold not in self.cells]

    @property
    def patients(self) -> set[str]:
        """Test patients over all finished folds."""
        return {patient for cell in self.cells.values() for patient in cell.patients}

    def behind(self, metric: str) -> set[str]:
        """Those of them that the metric is about: all, or the patients of its domain."""
        return {p for cell in self.cells.values() for p in scoring.patients(cell, metric)}

    def defined(self, metric: str) -> tuple[int, ...]:
        """Finished folds in which the metric is defined."""
        return tuple(
            fold
            for fold, scores in sorted(self.scores.items())
            if np.isfinite(scores.values.get(metric, np.nan))
        )

    def values(self, metric: str, folds: Sequence[int] | None = None) -> list[float]:
        """The metric by fold, over the folds in which it is defined or over those named."""
        return [self.scores[f][metric] for f in (self.defined(metric) if folds is None else folds)]

    def mean(self, metric: str) -> float:
        """Mean over the finished folds in which the metric is defined; NaN where none is."""
        return multilabel.mean(self.values(metric))

    def std(self, metric: str) -> float:
        """Population standard deviation (ddof 0) over the same folds; NaN for fewer than two."""
        values = self.values(metric)
        return float(np.std(values)) if len(values) > 1 else float("nan")

    def interval(self, metric: str) -> Interval:
        """95 % interval of the mean by resampling patients."""
        folds = self.defined(metric)
        if not folds:
            return Interval(float("nan"), float("nan"), self.why(metric))
        drawn = bootstrap.mean_over_folds(self.draws, metric, folds)
        return bootstrap.percentile_interval(drawn, num_patients=len(self.behind(metric)))

    def why(self, metric: str) -> str:
        """Why the metric is undefined in some fold; empty where it is defined in all."""
        reasons = [f"fold {fold} is not finished" for fold in self.missing]
        for fold, scores in sorted(self.scores.items()):
            if metric in scores.undefined:
                reasons.append(f"fold {fold}: {scores.undefined[metric]}")
            elif metric not in scores.values:
                reasons.append(f"fold {fold}: {metric} is no metric of {self.label}")
        return "; ".join(reasons)


def score_arms(
    arms: Sequence[ScoredArm],
    *,
    num_draws: int,
    rng: np.random.Generator,
    roles: Sequence[str] = (),
) -> dict[str, ScoredArm]:
    """The arms of one label with their scores, all on the same draws of patients.

    Masks are scored on the domain of each role as well.
    """
    patients = sorted({patient for arm in arms for patient in arm.patients})
    weights = np.zeros((num_draws, 0))
    if patients:
        weights = bootstrap.resample_patients(len(patients), num_draws=num_draws, rng=rng)
    return {arm.name: _score_arm(arm, patients, weights, roles) for arm in arms}


def best(arms: Sequence[ScoredArm], metric: str) -> ScoredArm | None:
    """The arm with the highest mean, the first of equals; None where no arm has one."""
    having = [arm for arm in arms if arm.defined(metric)]
    return max(having, key=lambda arm: arm.mean(metric), default=None)


def first_metric(arms: Sequence[ScoredArm], metrics: Sequence[str]) -> str:
    """The first of the metrics that these arms are scored by; it chooses the best of them."""
    known = {name for arm in arms for scores in arm.scores.values() for name in scores.values}
    return next((metric for metric in metrics if metric in known), metrics[0])


def highlights(
    arms: Sequence[ScoredArm], metric: str, *, also: Sequence[str] = (), limit: int = 6
) -> list[str]:
    """Names of the arms worth a picture, in order, at most `limit`.

    The best baseline, the arms named in `also`, and the best of each family, where there are too
    many those with the highest mean.
    """
    rivals = [arm for arm in arms if arm.baseline]
    families: dict[tuple[Hashable, ...], list[ScoredArm]] = {}
    for arm in arms:
        if not arm.baseline:
            families.setdefault(arm.family, []).append(arm)
    first = best(rivals, metric)
    winners = [arm for arm in (best(f, metric) for f in families.values()) if arm is not None]
    winners.sort(key=lambda arm: -arm.mean(metric))
    wished = [first, *(arm for arm in arms if arm.name in also and arm.defined(metric)), *winners]
    chosen = list(dict.fromkeys(arm.name for arm in wished if arm is not None))[:limit]
    return [arm.name for arm in arms if arm.name in chosen]


def by_biomarker(arm: ScoredArm) -> dict[str, dict[str, float]]:
    """Metrics of each yes/no label averaged over folds, and how many clips judged it."""
    table: dict[str, dict[str, float]] = {}
    for fold, scores in sorted(arm.scores.items()):
        if not isinstance(scores, multilabel.MultilabelScores) or not scores.by_label:
            continue
        truth = arm.cells[fold].target
        for column, name in enumerate(scores.by_label):
            row = table.setdefault(name, {"num_judged": 0, "num_seen": 0})
            row["num_judged"] += int((truth[:, column] >= 0).sum())
            row["num_seen"] += int((truth[:, column] == 1).sum())
    for name, row in table.items():
        found = [
            s.by_label[name]
            for s in arm.scores.values()
            if isinstance(s, multilabel.MultilabelScores) and s.by_label
        ]
        for metric in multilabel.MEANS:
            row[metric] = multilabel.mean([scores[metric] for scores in found])
    return table


def by_class(arm: ScoredArm) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each class over the test clips or frames of all folds."""
    cells = [cell for cell in arm.cells.values() if cell.classes and cell.counts is None]
    counts = pooled_confusion(arm) if cells else None
    if counts is None or counts.ndim != 2:
        return {}
    columns = classification.scores_by_class(counts)
    return {
        name: {"num_true": float(counts[k].sum()), **{m: float(v[k]) for m, v in columns.items()}}
        for k, name in enumerate(cells[0].classes)
    }


def pooled_confusion(arm: ScoredArm) -> Float[np.ndarray, "K K"] | None:
    """Test examples, or pixels, by true and predicted class, summed over folds.

    None for yes/no labels and where nothing was tested.
    """
    tables = [cell.counts.sum(axis=0) for cell in arm.cells.values() if cell.counts is not None]
    tables += [
        classification.confusion(
            c.target, c.probability.argmax(axis=1), num_classes=c.probability.shape[1]
        )
        for c in arm.cells.values()
        if len(c.clips) and not c.multilabel and not classification.explain_unusable(c.probability)
    ]
    return np.stack(tables).sum(axis=0).astype(np.float64) if tables else None


def reliability(arm: ScoredArm) -> calibration.Reliability | None:
    """Confidence against correctness, pooled over folds.

    For classes the confidence of the predicted one; for yes/no labels the probability of yes over
    all judged entries; for masks that of the predicted class of every pixel.
    """
    if any(cell.scheme for cell in arm.cells.values()):
        return mask_arms.pooled(list(arm.cells.values()))
    confidence, correct = [], []
    for cell in arm.cells.values():
        if classification.explain_unusable(cell.probability):
            continue
        if cell.multilabel:
            judged = cell.target >= 0
            confidence.append(cell.probability[judged])
            correct.append(cell.target[judged] == 1)
        else:
            confidence.append(cell.probability.max(axis=1))
            correct.append(cell.probability.argmax(axis=1) == cell.target)
    if not confidence:
        return None
    return calibration.reliability(np.concatenate(confidence), np.concatenate(correct))


def _score_arm(
    arm: ScoredArm,
    patients: Sequence[str],
    weights: Float[np.ndarray, "D P"],
    roles: Sequence[str],
) -> ScoredArm:
    tallies = {fold: scoring.counted(cell, roles) for fold, cell in arm.cells.items()}
    usable = {fold: one for fold, one in tallies.items() if one is not None}
    scores = {fold: scoring.score(cell, roles) for fold, cell in arm.cells.items()}
    return replace(arm, scores=scores, draws=bootstrap.metrics_by_fold(usable, patients, weights))
