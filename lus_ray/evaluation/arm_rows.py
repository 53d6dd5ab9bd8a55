"""The row of one arm in `report.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from lus_ray.evaluation import comparisons, mask_arms, scored_arms
from lus_ray.evaluation.comparisons import Difference
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import segmentation
from lus_ray.runs.leakage import PEOPLE


def row(
    arm: ScoredArm,
    arms: Mapping[str, ScoredArm],
    experiment: Mapping[str, Any],
    *,
    leaks: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    """Everything about one arm: scores by fold, means, intervals, differences, cost."""
    entry = next(e for e in experiment["arms"] if e["name"] == arm.name)
    metrics = list(dict.fromkeys(m for scores in arm.scores.values() for m in scores.values))
    if arm.label and not metrics:
        metrics = _planned(arm.label, experiment.get("metrics") or [])
    limits = {metric: arm.interval(metric) for metric in metrics}
    curve = scored_arms.reliability(arm)
    found = {
        "name": arm.name,
        "label": arm.label,
        "baseline": arm.baseline,
        "start": entry.get("start"),
        "reads": entry.get("reads"),
        "crossfit": entry.get("crossfit"),
        "leak": ", ".join(leaks.get(arm.name, ())) or None,
        "folds": [_cell(arm, fold) for fold in sorted(arm.cells)],
        "missing": arm.missing,
        "num_patients": len(arm.patients),
        "mean": {metric: arm.mean(metric) for metric in metrics},
        "std": {metric: arm.std(metric) for metric in metrics},
        "interval": {m: [one.low, one.high] for m, one in limits.items()},
        "num_folds": {metric: len(arm.defined(metric)) for metric in metrics},
        "undefined": {m: arm.why(m) for m in metrics if arm.why(m)}
        | {m: one.reason for m, one in limits.items() if one.reason and arm.defined(m)},
        "published": (experiment.get("published") or {}).get(arm.name, {}),
        "difference": _differences(arm, _rivals(arm, arms, leaks), metrics),
        "calibration_error": curve.expected_error() if curve else None,
        "confusion": scored_arms.pooled_confusion(arm) if arm.label else None,
        "cost": _cost([cell.cost for cell in arm.cells.values()]),
    }
    if classes := scored_arms.by_class(arm):
        found["classes"] = classes
    if biomarkers := scored_arms.by_biomarker(arm):
        found["biomarkers"] = biomarkers
    outlined = [cell.counts for cell in arm.cells.values() if cell.counts is not None]
    if outlined and (scheme := mask_arms.scheme_of(arm.label)):
        found["per_image"] = mask_arms.per_image(outlined, scheme)
    return found


def _planned(label: str, metrics: Sequence[str]) -> list[str]:
    """The metrics of the experiment that an arm without a finished fold will have."""
    scheme = mask_arms.scheme_of(label)
    if scheme is None:
        return [m for m in metrics if mask_arms.name(m) is None]
    return [m for m in metrics if m.partition(", ")[0] in segmentation.METRICS[scheme]]


def _cell(arm: ScoredArm, fold: int) -> dict[str, Any]:
    cell = arm.cells[fold]
    scores = arm.scores.get(fold)
    return {
        "fold": fold,
        "metrics": dict(scores.values) if scores else {},
        "undefined": dict(scores.undefined) if scores else {},
        "num_patients": cell.num_patients,
        "num_clips": cell.num_clips,
        **({"num_frames": len(cell.clips)} if cell.by_frame else {}),
        **({"num_frames": cell.said.sum()} if cell.said is not None else {}),
        **({"num_images": len(cell.clips)} if cell.scheme else {}),
        "cost": cell.cost,
    }


def _rivals(
    arm: ScoredArm, arms: Mapping[str, ScoredArm], leaks: Mapping[str, tuple[str, ...]]
) -> list[ScoredArm]:
    """Baselines of the same label, none of which saw fewer patients; none for a baseline."""
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


def _differences(
    arm: ScoredArm, rivals: Sequence[ScoredArm], metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By metric, against the baseline with the highest mean of it."""
    found: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        rival = scored_arms.best(rivals, metric)
        if rival is not None:
            found[metric] = {"to": rival.name, **difference(arm, rival, metric)}
    return found


def difference(one: ScoredArm, other: ScoredArm, metric: str) -> dict[str, Any]:
    """`one` minus `other` with its paired interval, and why it is undefined where it is."""
    return told(comparisons.difference(one, other, metric))


def told(found: Difference) -> dict[str, Any]:
    """A difference as it stands in `report.json`."""
    return {
        "value": found.value,
        "interval": [found.interval.low, found.interval.high],
        "folds": list(found.folds),
        **({"reason": found.reason} if found.reason else {}),
    }


def _cost(costs: list[dict[str, Any]]) -> dict[str, float]:
    """Sums of seconds and epochs, the highest peak of memory; what no cell measured is absent."""
    total: dict[str, float] = {}
    for name, combine in (
        ("wall_s", sum),
        ("cpu_s", sum),
        ("gpu_s", sum),
        ("epochs", sum),
        ("peak_mb", max),
    ):
        known = [cost[name] for cost in costs if cost.get(name) is not None]
        if known:
            total[name] = combine(known)
    return total
