"""External against internal: the metrics of an arm on both, and their difference.

Letters: D draws.
Both sides have their own patients, so their draws are independent and the interval of the
difference covers the choice of both. A difference is not the model's fault alone: another mix of
patients changes a metric as well.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation.external.estimates import to_estimate
from lus_ray.evaluation.external.schema import ArmShift, Estimate, Shift
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import bootstrap


def measure_shift(
    internal: ScoredArm,
    external: ScoredArm,
    metrics: Sequence[str],
    rng: np.random.Generator,
    *,
    leak: str = "",
) -> ArmShift:
    """The metrics that both sides know; `rng` pairs their draws at random."""
    known = [m for m in metrics if _has(internal, m) and _has(external, m)]
    return ArmShift(
        name=internal.name,
        label=internal.label or "",
        num_internal=len(internal.patients),
        num_external=len(external.patients),
        metrics={metric: _shift(internal, external, metric, rng) for metric in known},
        leak=leak,
    )


def first_shared_metric(arms: Sequence[ArmShift], label: str) -> str | None:
    """The first metric of a label that an arm has on both sides."""
    for arm in arms:
        for metric, own in arm.metrics.items():
            if arm.label == label and own.difference.value is not None:
                return metric
    return None


def describe_classes(internal: ScoredArm, external: ScoredArm) -> list[str]:
    """Classes that internal test clips have and external ones lack."""
    sides = []
    for arm in (internal, external):
        cells = [cell for cell in arm.cells.values() if cell.clips and not cell.multilabel]
        sides.append({n for c in cells for n, has in zip(c.classes, c.tested, strict=True) if has})
    names = next((cell.classes for cell in internal.cells.values()), ())
    return [name for name in names if name in sides[0] - sides[1]] if sides[1] else []


def _has(arm: ScoredArm, metric: str) -> bool:
    return any(metric in scores.values for scores in arm.scores.values())


def _shift(
    internal: ScoredArm, external: ScoredArm, metric: str, rng: np.random.Generator
) -> Shift:
    sides = [_estimate(arm, metric) for arm in (internal, external)]
    (first, first_draws), (second, second_draws) = sides
    if first.value is None or second.value is None:
        return Shift(internal=first, external=second, difference=Estimate(reason="undefined"))
    drawn = rng.permutation(second_draws) - first_draws
    num_patients = min(len(arm.patients_of(metric)) for arm in (internal, external))
    limits = bootstrap.percentile_interval(drawn, num_patients=num_patients)
    difference = to_estimate(second.value - first.value, limits)
    return Shift(internal=first, external=second, difference=difference)


def _estimate(arm: ScoredArm, metric: str) -> tuple[Estimate, Float[np.ndarray, "D"]]:
    if not arm.defined_folds(metric):
        return Estimate(reason=arm.why_undefined(metric)), np.zeros(0)
    return to_estimate(arm.mean(metric), arm.interval(metric)), arm.by_fold(metric).sample()
