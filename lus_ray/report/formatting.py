"""Numbers and sentences as text.

Scores are printed in percent, as the papers print them: `81.5 ± 1.0 [78.0, 84.2]` is the mean over
folds, its standard deviation over folds, and the 95 % interval.
"""

from collections.abc import Mapping
from typing import Any

from lus_ray.evaluation import schema, verdicts
from lus_ray.figures import shorten
from lus_ray.report import metric_names
from lus_ray.report.blocks import Cell

ABSENT = "–"


def score_cell(arm: schema.ArmResult, metric: str) -> Cell:
    """Mean ± standard deviation, with the number of folds where it is not over all."""
    mean, std = arm.mean.get(metric), arm.std.get(metric)
    if mean is None:
        return Cell("undefined" if arm.folds else "missing", tone="absent")
    folds = partial_folds(arm, metric)
    return spread_cell(mean, std, note=f" ({folds})" if folds else "")


def interval_cell(interval: schema.Limits | None) -> Cell:
    low, high = interval or (None, None)
    return Cell(limits(interval) or ABSENT, numbers={"low": percent(low), "high": percent(high)})


def difference_cell(arm: schema.ArmResult, metric: str) -> Cell:
    """The difference to the best baseline in points, with its interval."""
    difference = arm.difference.get(metric)
    if difference is None or difference.value is None:
        return Cell(ABSENT)
    low, high = difference.interval
    numbers = {"": percent(difference.value), "low": percent(low), "high": percent(high)}
    return Cell(points(difference), numbers=numbers, tone=tone(difference))


def paper_cell(arm: schema.ArmResult, metric: str) -> Cell:
    return spread_cell(*arm.published.get(metric, (None, None)))


def spread_cell(mean: schema.Number, std: schema.Number, *, note: str = "") -> Cell:
    numbers = {"": percent(mean), "std": percent(std)}
    return Cell(spread(mean, std) + note, numbers=numbers)


def tone(difference: schema.Difference) -> str:
    low, high = difference.interval
    if low is None or high is None:
        return ""
    return "better" if low > 0 else "worse" if high < 0 else ""


def partial_folds(arm: schema.ArmResult, metric: str) -> str:
    """`2 of 3 folds` where a mean is not over all planned folds, or an empty string."""
    num_folds = arm.num_folds[metric]
    num_planned = len({own.fold for own in arm.folds} | set(arm.missing))
    return f"{num_folds} of {num_planned} folds" if num_folds < num_planned else ""


def arm_cell(arm: schema.ArmResult, name: str = "") -> Cell:
    """The name of an arm, with what readers must know about it where the name does not say it."""
    known = ["baseline" if arm.baseline else "", *(arm.leak or "").split(", ")]
    marks = tuple(mark for mark in known if mark and mark not in arm.name)
    return Cell(name or arm.name, marks)


def gap(result: schema.GapResult, *, num_metrics: int | None = None) -> str:
    """A gap with its first differences; those of single classes are in report.json only."""
    if result.reason:
        found = result.reason
    else:
        differences = [
            f"{metric_names.name(metric, result.label)} {points(difference)}"
            for metric, difference in result.differences.items()
            if not metric_names.is_of_class(metric)
        ]
        found = f"{'; '.join(differences[:num_metrics])} points, {result.num_patients} patients"
        found += f"; {result.note}" if result.note else ""
    return f"{result.text} ({result.leaky} − {result.clean}): {found}"


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


def percent(value: schema.Number) -> float | None:
    return None if value is None else round(100 * value, 6)


def percent_text(value: schema.Number) -> str:
    return ABSENT if value is None else f"{100 * value:.1f}"


def share(value: schema.Number) -> Cell:
    return Cell(percent_text(value), numbers={"": percent(value)})


def number(value: schema.Number, pattern: str = ".2f") -> Cell:
    return Cell(ABSENT if value is None else format(value, pattern), numbers={"": value})


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


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def duration_cell(seconds: float | None) -> Cell:
    if not seconds:
        return Cell(ABSENT)
    return Cell(duration(seconds), numbers={"s": seconds})


def machine(contents: schema.ReportContents) -> str:
    """`2 cores, 25 GB memory, no GPU`; empty for runs that did not record it."""
    known = contents.machine
    if known is None:
        return ""
    memory = f", {known.memory_gb:.0f} GB memory" if known.memory_gb else ""
    gpus = ", ".join(f"{known.gpus.count(name)} × {name}" for name in dict.fromkeys(known.gpus))
    return f"{known.cores} core{'s' * (known.cores != 1)}{memory}, {gpus or 'no GPU'}"


def caption(text: str, contents: schema.ReportContents) -> str:
    """A caption with what its scores and intervals are; one fold has neither mean nor deviation."""
    over = "folds"
    if contents.evaluation_of is not None:
        over = f"the models of {len(contents.folds['sizes'])} folds, all on the same patients"
    mean, scores = f"mean over {over}", f"mean ± standard deviation over {over}"
    if len(contents.folds["sizes"]) == 1:
        mean = scores = "score on one fold"
    return text.format(mean=mean, scores=scores, resampled=resampled(contents))


def sentence(text: str) -> str:
    """A note as a sentence: `no clip has age` becomes `No clip has age.`"""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def resampled(contents: schema.ReportContents) -> str:
    """What the intervals cover the choice of."""
    return "patients and training seeds" if contents.seeds > 1 else "patients"


def provenance(contents: schema.ReportContents) -> dict[str, str]:
    data, folds = contents.data, contents.folds
    protocol = _flatten({k: v for k, v in folds.items() if k not in ("sizes", "fingerprint")})
    known = {
        "version": f"lus_ray {contents.version}",
        "commit": contents.commit or "",
        "started": contents.started or "",
        "machine": machine(contents),
        "command": contents.command,
        "seed": str(contents.seed),
        "seeds": str(contents.seeds) if contents.seeds > 1 else "",
        "clips": f"fingerprint {data.get('fingerprint')}",
        **{
            f"source {name}": shorten(_flatten(notes), 300) or ABSENT
            for name, notes in (data.get("sources") or {}).items()
        },
        "folds": f"{protocol or 'protocol not named'}; fingerprint {folds['fingerprint']}",
        "resampling": f"{contents.num_draws} draws of {resampled(contents)}",
    }
    return {name: text for name, text in known.items() if text}


def _flatten(facts: Mapping[str, Any]) -> str:
    scalars = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in scalars.items())
