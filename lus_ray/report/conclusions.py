"""Three sentences on a run: which data, what was found, how sure it is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lus_ray.clip import SYNTHETIC
from lus_ray.data.labels import label_name
from lus_ray.evaluation.schema import ArmResult, Number, ReportContents
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.report import formatting, metric_names

MAX_OTHERS = 3


@dataclass(frozen=True)
class Conclusions:
    """Sentences in plain words; scores in percent, differences in points."""

    data: str
    finding: str
    certainty: str


def conclude(contents: ReportContents) -> Conclusions:
    return Conclusions(_data(contents), _finding(contents), _certainty(contents))


def is_synthetic(sources: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every clip of the run is a phantom."""
    return bool(sources) and all(
        (about.get("source") or name) in SYNTHETIC for name, about in sources.items()
    )


def leading_label(contents: ReportContents) -> str | None:
    """The label of the first claim that this run has an arm of, else of the first arm."""
    claimed = (contents.label_of(claim.better) for claim in contents.claims)
    return next(filter(None, claimed), next(iter(contents.labels), None))


def order_labels(contents: ReportContents) -> list[str]:
    """The leading label first."""
    first = leading_label(contents)
    return sorted(contents.labels, key=lambda label: label != first)


def leading_metric(contents: ReportContents, label: str) -> str | None:
    """The first metric of the study with a score of this label."""
    return next(
        (
            metric
            for metric in contents.metrics_of(label)
            if any(arm.mean.get(metric) is not None for arm in contents.arms_of(label))
        ),
        None,
    )


def leading_arm(contents: ReportContents, label: str) -> ArmResult | None:
    """The best arm of a label, without baselines and leaks; None where none has a score."""
    metric = leading_metric(contents, label)
    scored = [
        arm
        for arm in contents.arms_of(label)
        if metric and not arm.baseline and not arm.leak and arm.mean.get(metric) is not None
    ]
    return max(scored, key=lambda arm: arm.mean[metric or ""] or 0.0, default=None)


def num_test_patients(contents: ReportContents) -> int:
    return max((arm.num_patients for arm in contents.arms), default=0)


def _data(contents: ReportContents) -> str:
    data, sources = contents.data, contents.data.get("sources") or {}
    clips, patients = f"{data.get('clips') or 0:,}", f"{data.get('patients') or 0:,}"
    num_folds = len(contents.folds["sizes"])
    size = (
        f"size {contents.size}: {count(len(contents.arms), 'arm')}, {count(num_folds, 'fold')}, "
        f"{f'{contents.seeds} seeds, ' if contents.seeds > 1 else ''}"
        f"{count(num_test_patients(contents), 'test patient')}"
    )
    if is_synthetic(sources):
        return f"{clips} synthetic clips of {patients} simulated patients (phantoms); {size}."
    names = ", ".join(sources) or "unnamed sources"
    some = " (some of them synthetic)" if set(SYNTHETIC) & set(sources) else ""
    return f"{clips} clips of {patients} patients from {names}{some}; {size}."


def _finding(contents: ReportContents) -> str:
    first = leading_label(contents)
    arm = leading_arm(contents, first) if first else None
    if first is None or arm is None:
        return "No arm has a score yet."
    metric = leading_metric(contents, first) or ""
    num_peers = sum(not peer.baseline and not peer.leak for peer in contents.arms_of(first))
    best = f"the best of {num_peers} arms is " if num_peers > 1 else ""
    score = f"{formatting.percent_text(arm.mean[metric])} % ({metric_names.name(metric, first)}"
    result = f"{score}{_limits(arm.interval.get(metric))}), {_versus(contents, arm, metric)}"
    others = [_other_result(contents, label) for label in contents.labels if label != first]
    shown = ", ".join([text for text in others if text][:MAX_OTHERS])
    more = f"; best arm against best baseline elsewhere: {shown}" if shown else ""
    name = label_name(first)
    return f"For {name}, {best}{_quote(arm)} with {result}{more}."


def _other_result(contents: ReportContents, label: str) -> str:
    arm, metric = leading_arm(contents, label), leading_metric(contents, label)
    if arm is None or metric is None:
        return ""
    name, known = label_name(label), arm.difference.get(metric)
    if known is None or known.value is None:
        score = f"{formatting.percent_text(arm.mean[metric])} %"
        return f"{name} {score} ({metric_names.name(metric, label)}, no baseline)"
    return f"{name} {formatting.points(known)} points"


def _versus(contents: ReportContents, arm: ArmResult, metric: str) -> str:
    difference = arm.difference.get(metric)
    if difference is None or difference.value is None:
        return "without a baseline to compare it with"
    value, limits = difference.value, _limits(difference.interval, sign="+")
    best = next(own for own in contents.arms if own.name == difference.to)
    baseline = f"the best baseline, {_quote(best)}"
    low, high = difference.interval
    if low is None or high is None or low <= 0 <= high:
        why = limits or ", too few patients for an interval"
        return f"no clear difference from {baseline} ({100 * value:+.1f} points{why})"
    where = "above" if value >= 0 else "below"
    return f"{abs(100 * value):.1f} points {where} {baseline} ({limits.removeprefix(', ')})"


def _certainty(contents: ReportContents) -> str:
    num_patients, num_claims = num_test_patients(contents), len(contents.claims)
    tested, claims = count(num_patients, "test patient"), count(num_claims, "claim")
    undecided = f": {'all ' * (num_claims > 2)}{claims} of the paper stay{'s' * (num_claims == 1)} "
    undecided = f"{undecided}undecided" if num_claims else ""
    few = num_patients < MIN_PATIENTS
    if few:
        tested = f"{tested} of at least {MIN_PATIENTS} that are needed"
    if contents.size in TRIAL_SIZES:
        verdict = f"{tested}, at size {contents.size}, which is too small to decide{undecided}"
    elif few:
        verdict = f"{tested}{undecided}; other patients may give another result"
    else:
        counts = Counter(claim.verdict for claim in contents.claims)
        parts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
        verdict = f"{tested}: of {claims} of the paper, {parts}" if num_claims else tested
    if is_synthetic(contents.data.get("sources") or {}):
        verdict += "; simulated clips say nothing about real patients"
    seeds = ", not the seed of the training (one seed)"
    if contents.seeds > 1:
        seeds = f" and the {contents.seeds} seeds of the training"
    return f"{verdict}; the intervals cover the choice of patients{seeds}."


def count(number: int, noun: str) -> str:
    """`1 clip` or `2,000 clips`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _quote(arm: ArmResult) -> str:
    return f"“{metric_names.short_name(arm.method, arm.label)}”"


def _limits(interval: tuple[Number, Number] | None, *, sign: str = "") -> str:
    low, high = interval or (None, None)
    if low is None or high is None:
        return ""
    return f", 95 % interval {100 * low:{sign}.1f} to {100 * high:{sign}.1f}"
