"""The text of table cells and of single sentences.

Scores are printed in percent, as the papers print them: `81.5 ± 1.0 [78.0, 84.2]` is the mean over
folds, its standard deviation over folds, and the 95 % interval over patients.
"""

from collections.abc import Mapping
from typing import Any

from lus_ray.evaluation.schema import (
    ArmResult,
    ClaimResult,
    Difference,
    GapResult,
    ImageSpread,
    Limits,
    NeutralElements,
    Number,
    RaterComparison,
    RaterScores,
    ReportContents,
)
from lus_ray.figures import shorten
from lus_ray.report import metric_names

ABSENT = "–"

OVER_IMAGES = (
    "mean ± standard deviation over the test images of all folds, with their number where not all "
    "define the metric"
)


def score(arm: ArmResult, metric: str) -> str:
    """Mean ± standard deviation in percent, with the number of folds where it is not all."""
    mean = arm.mean.get(metric)
    if mean is None:
        return "missing" if not arm.folds else "undefined"
    folds = partial_folds(arm, metric)
    return spread(mean, arm.std[metric]) + (f" ({folds})" if folds else "")


def partial_folds(arm: ArmResult, metric: str) -> str:
    """`2 of 3 folds` where a mean is not over all planned folds, or an empty string."""
    num_folds, num_planned = arm.num_folds[metric], len(arm.folds) + len(arm.missing)
    return f"{num_folds} of {num_planned} folds" if num_folds < num_planned else ""


def marks(arm: ArmResult) -> list[str]:
    """What readers must know about an arm wherever its name stands and does not say it."""
    known = ["baseline" if arm.baseline else "", *(arm.leak or "").split(", ")]
    return [mark for mark in known if mark and mark not in arm.name]


def image_table(contents: ReportContents, label: str) -> list[list[str]]:
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


def gap_differences(gap: GapResult) -> list[str]:
    """Each difference of a gap by name; those of single classes are in report.json only."""
    return [
        f"{metric_names.name(metric, gap.label)} {points(found)}"
        for metric, found in gap.differences.items()
        if not metric_names.is_of_class(metric)
    ]


def claim_difference(contents: ReportContents, claim: ClaimResult) -> str:
    """`AUC +3.2 [1.0, 5.1]`; empty where the claim could not be tested."""
    if claim.difference is None:
        return ""
    metric = metric_names.name(claim.metric, contents.label_of(claim.better))
    return f"{metric} {100 * claim.difference:+.1f} {limits(claim.interval, sign='+')}"


def points(found: Difference) -> str:
    """A difference with its interval in points of 100."""
    if found.value is None:
        return "undefined"
    return f"{100 * found.value:+.1f} {limits(found.interval, sign='+')}".strip()


def share(value: Number) -> str:
    """A share in percent, or a dash."""
    return ABSENT if value is None else f"{100 * value:.1f}"


def number(value: Number) -> str:
    """A number with two decimals, or a dash."""
    return ABSENT if value is None else f"{value:.2f}"


def neutral_elements(row: NeutralElements) -> list[str]:
    """Neutral elements, mean ± standard deviation where there are several folds."""
    is_single = len(row.folds) < 2
    return [
        f"{mean:.3f}" + ("" if is_single else f" ± {std:.3f}")
        for mean, std in zip(row.mean, row.std, strict=True)
    ]


def rater_rows(raters: RaterComparison) -> list[tuple[str, RaterScores, int]]:
    """Name, scores and number of clips of each rater and each arm."""
    people = enumerate(raters.one_against_others, start=1)
    rows: list[tuple[str, RaterScores, int]] = [
        (f"rater {rank}", scores, raters.num_clips) for rank, scores in people
    ]
    return rows + [(f"{a.name} ({a.kind})", a, a.num_clips) for a in raters.arms or ()]


def rater_votes(raters: RaterComparison) -> str:
    """How often raters agree, in one sentence."""
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


def spread(mean: float, std: Number) -> str:
    """`81.5 ± 1.0`, or `81.5` where there is no deviation."""
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std is not None else "")


def limits(interval: Limits | None, *, sign: str = "") -> str:
    """`[78.0, 84.2]`, or an empty string where it is undefined."""
    low, high = interval or (None, None)
    if low is None or high is None:
        return ""
    return f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def published(arm: ArmResult, metric: str) -> str:
    """The published score of this arm, or an empty string."""
    mean, std = arm.published.get(metric, (None, None))
    return "" if mean is None else spread(mean, std)


def versus_baseline(arm: ArmResult, metric: str) -> str:
    """Difference to the best baseline with its interval, or an empty string."""
    found = arm.difference.get(metric)
    return points(found) if found and found.value is not None else ""


def cost(arm: ArmResult) -> str:
    """`3 min, 5 CPU min, 0.5 GB` over the finished folds."""
    durations = (("wall_s", ""), ("cpu_s", " CPU"), ("gpu_s", " GPU"))
    parts = [
        f"{duration(seconds)}{unit}" for name, unit in durations if (seconds := arm.cost.get(name))
    ]
    if peak_mb := arm.cost.get("peak_mb"):
        parts.append(f"{peak_mb / 1000:.1f} GB")
    return ", ".join(parts) or ABSENT


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def provenance(contents: ReportContents) -> dict[str, str]:
    """What is needed to reproduce the report."""
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
    """The scalar values among the facts; tables and lists are in experiment.json."""
    scalars = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in scalars.items())


def _over_images(found: ImageSpread, number: int) -> str:
    """`81.5 ± 1.0`, with the number of images where it is not all."""
    if found.mean is None:
        return ABSENT
    images = f" ({found.num_images})" if found.num_images < number else ""
    return spread(found.mean, found.std) + images
