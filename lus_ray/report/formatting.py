"""The text of table cells and of single sentences.

Scores are printed in percent, as the papers print them: `81.5 ± 1.0 [78.0, 84.2]` is the mean over
folds, its standard deviation over folds, and the 95 % interval over patients.
"""

from collections.abc import Mapping
from typing import Any

from lus_ray.evaluation import schema, verdicts
from lus_ray.figures import shorten
from lus_ray.report import metric_names

ABSENT = "–"

OVER_IMAGES = (
    "mean ± standard deviation over the test images of all folds, with their number where not all "
    "define the metric"
)


def score(arm: schema.ArmResult, metric: str) -> str:
    """Mean ± standard deviation in percent, with the number of folds where it is not all."""
    mean = arm.mean.get(metric)
    if mean is None:
        return "missing" if not arm.folds else "undefined"
    folds = partial_folds(arm, metric)
    return spread(mean, arm.std[metric]) + (f" ({folds})" if folds else "")


def partial_folds(arm: schema.ArmResult, metric: str) -> str:
    """`2 of 3 folds` where a mean is not over all planned folds, or an empty string."""
    num_folds, num_planned = arm.num_folds[metric], len(arm.folds) + len(arm.missing)
    return f"{num_folds} of {num_planned} folds" if num_folds < num_planned else ""


def marks(arm: schema.ArmResult) -> list[str]:
    """What readers must know about an arm wherever its name stands and does not say it."""
    known = ["baseline" if arm.baseline else "", *(arm.leak or "").split(", ")]
    return [mark for mark in known if mark and mark not in arm.name]


def image_table(contents: schema.ReportContents, label: str) -> list[list[str]]:
    """Head and rows of the table of single images and calibration; empty for other labels."""
    arms = [arm for arm in contents.arms_of(label) if arm.per_image]
    if not arms:
        return []
    metrics = list(arms[0].per_image)
    head = ["arm", *(f"{metric_names.name(metric, label)}, %" for metric in metrics)]
    rows = [[*head, "images", "expected calibration error, %"]]
    for arm in arms:
        spreads = [arm.per_image[metric] for metric in metrics]
        number = max(own.num_images for own in spreads)
        values = [_over_images(own, number) for own in spreads]
        rows.append([arm.name, *values, str(number), share(arm.calibration_error)])
    return rows


def gap_differences(gap: schema.GapResult) -> list[str]:
    """Each difference of a gap by name; those of single classes are in report.json only."""
    return [
        f"{metric_names.name(metric, gap.label)} {points(difference)}"
        for metric, difference in gap.differences.items()
        if not metric_names.is_of_class(metric)
    ]


def claim_evidence(contents: schema.ReportContents, claim: schema.ClaimResult) -> str:
    """`AUC +3.2 [1.0, 5.1] points; ...` with what decided the verdict; why it was not tested."""
    if claim.difference is None or claim.detectable is None:
        return claim.reason
    metric = metric_names.name(claim.metric, contents.label_of(claim.better))
    margin = f", margin {100 * claim.margin:g}" if claim.margin else ""
    parts = [
        f"{metric} {100 * claim.difference:+.1f} {limits(claim.adjusted_interval, sign='+')} points"
        f"{margin}",
        f"p {p_value(claim.p)}, corrected {p_value(claim.adjusted_p)}",
        f"{claim.num_patients} patients",
    ]
    if claim.verdict == verdicts.UNDECIDED:
        parts.append(claim.reason or f"{100 * claim.detectable:.1f} points would have shown")
    return "; ".join(parts)


def p_value(p: schema.Number) -> str:
    if p is None:
        return ABSENT
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def points(difference: schema.Difference) -> str:
    if difference.value is None:
        return "undefined"
    return f"{100 * difference.value:+.1f} {limits(difference.interval, sign='+')}".strip()


def share(value: schema.Number) -> str:
    return ABSENT if value is None else f"{100 * value:.1f}"


def number(value: schema.Number) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def neutral_elements(row: schema.NeutralElements) -> list[str]:
    """Neutral elements, mean ± standard deviation where there are several folds."""
    is_single = len(row.folds) < 2
    return [
        f"{mean:.3f}" + ("" if is_single else f" ± {std:.3f}")
        for mean, std in zip(row.mean, row.std, strict=True)
    ]


def rater_rows(raters: schema.RaterComparison) -> list[tuple[str, schema.RaterScores, int]]:
    people = enumerate(raters.one_against_others, start=1)
    return [
        *((f"rater {rank}", scores, raters.num_clips) for rank, scores in people),
        *((f"{arm.name} ({arm.kind})", arm, arm.num_clips) for arm in raters.arms or ()),
    ]


def rater_votes(raters: schema.RaterComparison) -> str:
    modal = ", ".join(
        f"at least {votes} votes in {share(value)} %"
        for votes, value in enumerate(raters.modal, start=1)
        if votes > 1
    )
    return (
        f"{raters.num_raters} raters of {raters.num_clips} clips: two raters agree in "
        f"{share(raters.pairwise)} % of clips; the most frequent score has {modal}; "
        f"it is tied in {share(raters.mode_ties)} %."
    )


def spread(mean: schema.Number, std: schema.Number) -> str:
    """`81.5 ± 1.0`, `81.5` without a deviation, or a dash."""
    if mean is None:
        return ABSENT
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std is not None else "")


def limits(interval: schema.Limits | None, *, sign: str = "") -> str:
    low, high = interval or (None, None)
    if low is None or high is None:
        return ""
    return f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def published(arm: schema.ArmResult, metric: str) -> str:
    mean, std = arm.published.get(metric, (None, None))
    return "" if mean is None else spread(mean, std)


def versus_baseline(arm: schema.ArmResult, metric: str) -> str:
    difference = arm.difference.get(metric)
    return points(difference) if difference and difference.value is not None else ""


def cost(arm: schema.ArmResult) -> str:
    """`3 min, 5 CPU min, 0.5 GB` over the finished folds."""
    durations = (("wall_s", ""), ("cpu_s", " CPU"), ("gpu_s", " GPU"))
    parts = [
        f"{duration(seconds)}{unit}" for name, unit in durations if (seconds := arm.cost.get(name))
    ]
    if peak_mb := arm.cost.get("peak_mb"):
        parts.append(f"{peak_mb / 1000:.1f} GB")
    return ", ".join(parts) or ABSENT


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def provenance(contents: schema.ReportContents) -> dict[str, str]:
    data, folds = contents.data, contents.folds
    protocol = _flatten({k: v for k, v in folds.items() if k not in ("sizes", "fingerprint")})
    return {
        "version": f"lus_ray {contents.version}",
        "command": contents.command,
        "seed": str(contents.seed),
        "clips": f"fingerprint {data.get('fingerprint')}",
        **{
            f"source {name}": shorten(_flatten(notes), 300) or ABSENT
            for name, notes in (data.get("sources") or {}).items()
        },
        "folds": f"{protocol or 'protocol not named'}; fingerprint {folds['fingerprint']}",
        "resampling": f"{contents.num_draws} draws of patients",
    }


def _flatten(facts: Mapping[str, Any]) -> str:
    scalars = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in scalars.items())


def _over_images(images: schema.ImageSpread, number: int) -> str:
    is_partial = images.mean is not None and images.num_images < number
    return spread(images.mean, images.std) + (f" ({images.num_images})" if is_partial else "")
