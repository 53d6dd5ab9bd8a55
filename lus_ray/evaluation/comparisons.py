"""Comparisons of two arms of one label: differences, and gaps between protocols.

All differences are paired over the same draws of patients, and by training seed.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace

import numpy as np
from jaxtyping import Float

from lus_ray.data.labels import label_name
from lus_ray.evaluation import mask_arms, scored_arms, scoring
from lus_ray.evaluation.schema import Difference, GapResult
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.experiment import Gap
from lus_ray.folds import Fold
from lus_ray.metrics import bootstrap, frames
from lus_ray.metrics.training_seeds import ONE_SEED, SeedSpread

OWN_FOLDS = (
    "each arm is averaged over its own folds, which test different {unit}; part of the difference "
    "is that the first trains on {leaky:.0f} % of the {unit} and the second on those of "
    "{clean:.0f} % of the patients{more}"
)
OF_EVERY_EXAMPLE = (
    "accuracy",
    "frame_accuracy",
    "pixel_accuracy",
    "weighted_kappa",
    *frames.SETTINGS,
)
"""Metrics that count every test example, whether its class was trained or not."""

COPIES = "; the first is also tested on mirrored, darkened and brightened copies"


def compare(arm: ScoredArm, reference: ScoredArm, metric: str) -> Difference:
    """`arm` minus `reference` over the folds and seeds in which both are defined."""
    seeds = _common_seeds(arm, reference, metric)
    folds = tuple(seeds)
    if not folds:
        undefined = reference if arm.defined_folds(metric) else arm
        why = undefined.why_undefined(metric) or "no fold in common"
        return Difference(reason=f"{undefined.name}: {why}")
    for fold in folds:
        if arm.cells[fold].clips != reference.cells[fold].clips:
            cell = arm.cells[fold]
            unit = "images" if cell.scheme else "frames" if cell.has_frames else "clips"
            names = f"{arm.name} and {reference.name}"
            return Difference(reason=f"{names} were tested on different {unit} in fold {fold}")
        if reason := _explain_classes(arm, reference, metric, [fold], [fold]):
            return Difference(reason=reason)
    tested = {p for fold in folds for p in scoring.patients_of(arm.cells[fold], metric)}
    first, second = arm.by_fold(metric, seeds), reference.by_fold(metric, seeds)
    value, paired = first.mean - second.mean, first.minus(second)
    return _difference(
        value, paired.sample(), folds, num_patients=len(tested), seeds=paired.spread()
    )


def compare_means(arm: ScoredArm, reference: ScoredArm, metric: str) -> Difference:
    """`arm` minus `reference`, each the mean over its own folds.

    For arms that test the same patients, but different images of them in each fold.
    """
    draws = []
    for side in (arm, reference):
        folds = side.defined_folds(metric)
        if not folds or side.missing:
            why = side.why_undefined(metric) or "no fold is finished"
            return Difference(reason=f"{side.name}: {why}")
        draws.append(side.by_fold(metric).sample())
    if arm.patients != reference.patients:
        names = f"{arm.name} and {reference.name}"
        return Difference(reason=f"{names} were tested on different patients")
    own, others = arm.defined_folds(metric), reference.defined_folds(metric)
    if reason := _explain_classes(arm, reference, metric, own, others):
        return Difference(reason=reason)
    value, num_patients = arm.mean(metric) - reference.mean(metric), len(arm.patients_of(metric))
    return _difference(value, draws[0] - draws[1], own, num_patients=num_patients)


def compare_to_best(
    arm: ScoredArm, baselines: Sequence[ScoredArm], metrics: Sequence[str]
) -> dict[str, Difference]:
    best = {metric: scored_arms.best_arm(baselines, metric) for metric in metrics}
    return {
        metric: replace(compare(arm, baseline, metric), to=baseline.name)
        for metric, baseline in best.items()
        if baseline is not None
    }


def measure_gap(
    gap: Gap,
    arms: Arms,
    metrics: Sequence[str],
    *,
    folds: Collection[Fold],
    at_random: Collection[str],
) -> GapResult:
    """How much a leaky published protocol promises beyond its leak-free counterpart.

    `at_random` are the arms whose images or clips were split at random. Folds of such an arm and
    of one split by patients do not pair up: their means are compared, and a note says so.
    """
    for name in (gap.leaky, gap.clean):
        if name not in arms:
            return GapResult(**asdict(gap), reason=f"there is no arm {name!r} in this run")
    leaky, clean = arms[gap.leaky], arms[gap.clean]
    if leaky.label != clean.label:
        reason = f"{leaky.name} and {clean.name} predict different labels"
        return GapResult(**asdict(gap), reason=reason)
    if unfinished := [arm.name for arm in (leaky, clean) if not arm.cells]:
        reason = f"{unfinished[0]}: no fold is finished"
        return GapResult(**asdict(gap), label=leaky.label, reason=reason)
    has_own_folds = leaky.name in at_random and clean.name not in at_random
    compare_arms = compare_means if has_own_folds else compare
    known = {name for scores in clean.scores.values() for name in scores.values}
    differences = {m: compare_arms(leaky, clean, m) for m in metrics if m in known}
    reasons = [difference.reason for difference in differences.values() if difference.reason]
    is_undefined = all(difference.value is None for difference in differences.values())
    return GapResult(
        **asdict(gap),
        label=leaky.label,
        num_patients=len(clean.patients & leaky.patients),
        differences=differences,
        reason=reasons[0] if reasons and is_undefined else "",
        note=_note(leaky.label, folds) if has_own_folds else "",
    )


def _common_seeds(arm: ScoredArm, reference: ScoredArm, metric: str) -> dict[int, list[int]]:
    """The seeds in which both are defined, of every fold that has one."""
    common = {}
    for fold in arm.defined_folds(metric):
        others = reference.defined_seeds(metric, fold)
        if seeds := [seed for seed in arm.defined_seeds(metric, fold) if seed in others]:
            common[fold] = seeds
    return common


def _difference(
    value: float,
    paired: Float[np.ndarray, "D"],
    folds: tuple[int, ...],
    *,
    num_patients: int,
    seeds: SeedSpread = ONE_SEED,
) -> Difference:
    interval = bootstrap.percentile_interval(paired, num_patients=num_patients)
    return Difference(
        value=value,
        interval=(interval.low, interval.high),
        error=None if interval.reason else float(np.nanstd(paired, ddof=1)),
        seed_error=seeds.error if seeds.dof else None,
        seed_dof=seeds.dof or None,
        folds=folds,
        reason=interval.reason,
    )


def _explain_classes(
    arm: ScoredArm, reference: ScoredArm, metric: str, folds: Sequence[int], others: Sequence[int]
) -> str:
    """Why two averages over classes cannot be compared: one arm did not train a tested class."""
    cells = [arm.cells[fold] for fold in folds]
    other_cells = [reference.cells[fold] for fold in others]
    if metric.partition(", ")[0] in OF_EVERY_EXAMPLE:
        return ""
    for k, name in enumerate(cells[0].classes):
        lacks = [any(not c.knows(k) and c.tested[k] for c in own) for own in (cells, other_cells)]
        if lacks[0] != lacks[1]:
            lacking = arm.name if lacks[0] else reference.name
            return (
                f"{lacking} was not trained on {label_name(arm.label or '')} {name} in every fold"
            )
    return ""


def _note(label: str | None, folds: Collection[Fold]) -> str:
    """What else differs: each of k random folds trains on all but one k-th of the data."""
    has_masks = mask_arms.scheme_of(label) is not None
    shares = [len(f.train) / (len(f.train) + len(f.val) + len(f.test)) for f in folds]
    return OWN_FOLDS.format(
        unit="images" if has_masks else "clips",
        leaky=100 * (1 - 1 / len(folds)),
        clean=100 * np.mean(shares),
        more=COPIES if has_masks else "",
    )
