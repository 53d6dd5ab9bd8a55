"""The row of one arm in report.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lus_ray.evaluation import comparisons, mask_arms, pooled_scores
from lus_ray.evaluation.method_names import name_method
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ArmResult, FoldScores, ImageSpread, SeedMetrics
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.metrics import segmentation
from lus_ray.runs.leakage import PEOPLE

COSTS = ("wall_s", "cpu_s", "gpu_s", "epochs", "peak_mb")


def build_row(arm: ScoredArm, arms: Arms, run: RunResults) -> ArmResult:
    entry = run.record.arm(arm.name)
    metrics = list(dict.fromkeys(m for scores in arm.scores.values() for m in scores.values))
    if arm.label and not metrics:
        metrics = _planned_metrics(arm.label, run.record.metrics)
    limits = {metric: arm.interval(metric) for metric in metrics}
    curve = pooled_scores.pool_reliability(arm)
    confusion = pooled_scores.pool_confusion(arm) if arm.label else None
    return ArmResult(
        name=arm.name,
        label=arm.label,
        baseline=arm.baseline,
        start=entry.start,
        reads=entry.reads,
        crossfit=entry.crossfit,
        kind=entry.kind,
        method=name_method(entry, {own.name: own for own in run.record.arms}),
        leak=", ".join(run.leaks.get(arm.name, ())) or None,
        folds=tuple(_fold_scores(arm, fold) for fold in sorted(arm.cells)),
        missing=tuple(arm.missing),
        num_patients=len(arm.patients),
        mean={metric: arm.mean(metric) for metric in metrics},
        std={metric: arm.std(metric) for metric in metrics},
        interval={metric: (own.low, own.high) for metric, own in limits.items()},
        num_folds={metric: len(arm.defined_folds(metric)) for metric in metrics},
        undefined={m: arm.why_undefined(m) for m in metrics if arm.why_undefined(m)}
        | {m: own.reason for m, own in limits.items() if own.reason and arm.defined_folds(m)},
        published={**run.record.published.get(arm.name, {})},
        difference=comparisons.compare_to_best(arm, _baselines(arm, arms, run.leaks), metrics),
        calibration_error=curve.expected_error() if curve else None,
        confusion=None if confusion is None else confusion.tolist(),
        cost=_total_cost([cell.cost for cell in arm.every_cell]),
        classes=pooled_scores.score_classes(arm),
        biomarkers=pooled_scores.score_biomarkers(arm),
        per_image=_spread_over_images(arm),
    )


def _planned_metrics(label: str, metrics: Sequence[str]) -> list[str]:
    known = segmentation.METRICS
    if scheme := mask_arms.scheme_of(label):
        return [m for m in metrics if m.partition(", ")[0] in known[scheme]]
    of_masks = {metric for names in known.values() for metric in names}
    return [m for m in metrics if m.partition(", ")[0] not in of_masks]


def _fold_scores(arm: ScoredArm, fold: int) -> FoldScores:
    cell, scores = arm.cells[fold], arm.scores.get(fold)
    num_frames = None if cell.frame_counts is None else cell.frame_counts.sum()
    return FoldScores(
        fold=fold,
        metrics=scores.values if scores else {},
        undefined=scores.undefined if scores else {},
        num_patients=cell.num_patients,
        num_clips=cell.num_clips,
        num_frames=len(cell.clips) if cell.has_frames else num_frames,
        num_images=len(cell.clips) if cell.scheme else None,
        cost=cell.cost,
        seeds=tuple(
            SeedMetrics(seed=seed, metrics=own.scores.values)
            for seed, own in arm.by_seed.get(fold, {}).items()
            if cell.repeats
        ),
    )


def _baselines(arm: ScoredArm, arms: Arms, leaks: Mapping[str, tuple[str, ...]]) -> list[ScoredArm]:
    if arm.baseline or arm.label is None:
        return []
    people = PEOPLE & set(leaks.get(arm.name, ()))
    return [
        other
        for other in arms.values()
        if other.label == arm.label
        and other.baseline
        and PEOPLE & set(leaks.get(other.name, ())) == people
    ]


def _spread_over_images(arm: ScoredArm) -> dict[str, ImageSpread]:
    """Every metric of single images; an image counts once for each fold and seed that tests it."""
    known = [(cell.counts, cell.trained) for cell in arm.every_cell if cell.counts is not None]
    scheme = mask_arms.scheme_of(arm.label)
    if not known or scheme is None:
        return {}
    counts = np.concatenate([own for own, _ in known])
    trained = np.concatenate(
        [np.broadcast_to(True if mark is None else mark, own.shape[:2]) for own, mark in known]
    )
    spreads = segmentation.spread_over_images(counts, scheme, trained)
    return {metric: ImageSpread(**asdict(spread)) for metric, spread in spreads.items()}


def _total_cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    known = {name: [c[name] for c in costs if c.get(name) is not None] for name in COSTS}
    return {n: max(v) if n == "peak_mb" else sum(v) for n, v in known.items() if v}
