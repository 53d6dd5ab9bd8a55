"""The numbers as tables: for Markdown, for a terminal, and cell by cell for the page.

Scores are shown in percent, as the papers print them: `81.5 ± 1.0 [78.0, 84.2]` is the mean over
folds, its standard deviation over folds, and the 95 % interval over patients.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from lus_ray.figures import shortened

Contents = Mapping[str, Any]
ABSENT = "–"

NAMES = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "macro_f1": "macro F1",
    "group_accuracy": "group accuracy",
    "micro_f1": "micro F1",
}
"""Metrics as they are printed."""

LABELS = {
    "biomarkers": "Biomarkers",
    "severity": "Severity",
    "sf_ratio": "S/F ratio",
    "disease": "Disease",
}
"""Labels as they are printed."""


def markdown(contents: Contents) -> str:
    """The whole report as Markdown."""
    data = contents["data"]
    lines = [
        f"# {contents['title']}",
        "",
        "For research only. Not a medical device; no number here may guide the care of a patient.",
        "",
        f"Experiment `{contents['experiment']}`, size {contents['size']}: "
        f"{data.get('clips')} clips of {data.get('patients')} patients, "
        f"{len(contents['folds']['sizes'])} folds.",
        "",
        *(f"- {warning}" for warning in contents["warnings"]),
        *(f"- Missing: {row['arm']}, fold {row['fold']}." for row in contents["missing"]),
        *(f"- {row['arm']}, fold {row['fold']}: {row['note']}" for row in contents["cell_notes"]),
        "",
    ]
    for label in labels_of(contents):
        lines += [f"## {LABELS.get(label, label)}", "", *_markdown_table(contents, label), ""]
    if contents["claims"]:
        lines += ["## Claims of the paper", "", *map(_claim_line, contents["claims"]), ""]
    lines += ["## How to read this", "", *(f"- {k}: {v}" for k, v in contents["notes"].items())]
    lines += [
        "",
        "## Where it comes from",
        "",
        *(f"- {k}: {v}" for k, v in trace(contents).items()),
    ]
    return "\n".join(lines) + "\n"


def text(contents: Contents, where: str) -> str:
    """The best arms and all baselines as a plain table of at most 100 columns."""
    lines = [*textwrap.wrap(f"{contents['title']} ({contents['size']})", 100)]
    for label in labels_of(contents):
        metrics = metrics_of(contents, label)[:2]
        head = "".join(f"{NAMES.get(m, m):<26}" for m in metrics)
        lines += ["", f"{LABELS.get(label, label):<36}{head}{'patients':>8}"]
        for arm in arms_of(contents, label):
            if arm["baseline"] or arm["name"] in contents["highlights"][label]:
                scores = "".join(f"{_score_and_interval(arm, m):<26}" for m in metrics)
                mark = "· " if arm["baseline"] else "  "
                name = shortened(mark + arm["name"], 35)
                lines.append(f"{name:<36}{scores}{arm['num_patients']:>8}")
    if contents["missing"]:
        count = len(contents["missing"])
        lines += ["", f"* not over all folds. Cells missing: {count}; run the command again."]
    if contents["claims"]:
        lines.append("")
    for claim in contents["claims"]:
        lines += textwrap.wrap(f"{claim['verdict']}: {claim['text']}", 100, subsequent_indent="  ")
    lines += ["", *textwrap.wrap("  ".join(contents["warnings"]), 100)]
    lines += ["· a baseline; percent, mean ± std over folds [95 % interval over patients]"]
    return "\n".join([*lines, f"report: {where}"])


def labels_of(contents: Contents) -> list[str]:
    """Labels in the order of their first arm."""
    return list(dict.fromkeys(arm["label"] for arm in contents["arms"] if arm["label"]))


def arms_of(contents: Contents, label: str) -> list[dict[str, Any]]:
    """The arms of a label in order."""
    return [arm for arm in contents["arms"] if arm["label"] == label]


def metrics_of(contents: Contents, label: str) -> list[str]:
    """The metrics of the experiment that this label has."""
    known = {metric for arm in arms_of(contents, label) for metric in arm["mean"]}
    return [metric for metric in contents["metrics"] if metric in known]


def ours(arm: Mapping[str, Any], metric: str) -> str:
    """Mean ± std in percent; says so where it is not over all folds."""
    mean = arm["mean"].get(metric)
    if mean is None:
        return "missing" if not arm["folds"] else "undefined"
    some = partial(arm, metric)
    return spread(mean, arm["std"][metric]) + (f" ({some})" if some else "")


def partial(arm: Mapping[str, Any], metric: str) -> str:
    """`2 of 3 folds` where a mean is not over all planned folds, or nothing."""
    num_folds, num_planned = arm["num_folds"][metric], len(arm["folds"]) + len(arm["missing"])
    return f"{num_folds} of {num_planned} folds" if num_folds < num_planned else ""


def title(metric: str) -> str:
    """The metric as a column title."""
    name = NAMES.get(metric, metric)
    return name[0].upper() + name[1:]


def spread(mean: float, std: float | None) -> str:
    """`81.5 ± 1.0`, or `81.5` where there is no deviation."""
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std is not None else "")


def limits(interval: Sequence[float | None] | None, *, sign: str = "") -> str:
    """`[78.0, 84.2]`, or nothing where it is undefined."""
    if not interval or interval[0] is None or interval[1] is None:
        return ""
    return f"[{100 * interval[0]:{sign}.1f}, {100 * interval[1]:{sign}.1f}]"


def published(arm: Mapping[str, Any], metric: str) -> str:
    """What the paper prints for this arm, or nothing."""
    value = arm["published"].get(metric)
    return spread(*value) if value else ""


def versus(arm: Mapping[str, Any], metric: str) -> str:
    """Difference to the best baseline with its interval, or nothing."""
    found = arm["difference"].get(metric)
    if not found or found["value"] is None:
        return ""
    return f"{100 * found['value']:+.1f} {limits(found['interval'], sign='+')}".strip()


def cost(arm: Mapping[str, Any]) -> str:
    """`3 min, 5 CPU min, 0.5 GB` over the finished folds."""
    known = arm["cost"]
    parts = [
        f"{duration(known[name])}{unit}"
        for name, unit in (("wall_s", ""), ("cpu_s", " CPU"), ("gpu_s", " GPU"))
        if known.get(name)
    ]
    if known.get("peak_mb"):
        parts.append(f"{known['peak_mb'] / 1000:.1f} GB")
    return ", ".join(parts) or ABSENT


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def trace(contents: Contents) -> dict[str, str]:
    """What is needed to make the report again."""
    data = contents["data"]
    folds = {k: v for k, v in contents["folds"].items() if k not in ("sizes", "fingerprint")}
    return {
        "version": f"lus_ray {contents['version']}",
        "command": f"{contents['command']}",
        "seed": str(contents["seed"]),
        "clips": f"fingerprint {data.get('fingerprint')}",
        **{
            f"source {name}": shortened(_flat(notes), 300) or ABSENT
            for name, notes in (data.get("sources") or {}).items()
        },
        "folds": f"{_flat(folds) or 'protocol not named'}; "
        f"fingerprint {contents['folds']['fingerprint']}",
        "resampling": f"{contents['num_draws']} draws of patients",
    }


def _flat(facts: Mapping[str, Any]) -> str:
    """The single values among the facts; tables and lists are in experiment.json."""
    single = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in single.items())


def _markdown_table(contents: Contents, label: str) -> list[str]:
    metrics = metrics_of(contents, label)
    head = ["arm"]
    for metric in metrics:
        name = NAMES.get(metric, metric)
        head += [name, f"{name} published", f"{name} − best baseline"]
    head += ["patients", "cost"]
    rows = [head, ["---"] * len(head)]
    for arm in arms_of(contents, label):
        row = [arm["name"] + (" (baseline)" if arm["baseline"] else "")]
        for metric in metrics:
            score = f"{ours(arm, metric)} {limits(arm['interval'].get(metric))}".strip()
            row += [score, published(arm, metric) or ABSENT, versus(arm, metric) or ABSENT]
        rows.append([*row, str(arm["num_patients"]), cost(arm)])
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _claim_line(claim: Mapping[str, Any]) -> str:
    found = ""
    if claim.get("difference") is not None:
        found = (
            f" ({NAMES.get(claim['metric'], claim['metric'])} {100 * claim['difference']:+.1f} "
            f"{limits(claim['interval'], sign='+')}, {claim['num_patients']} patients)"
        )
    reason = f" ({claim['reason']})" if claim.get("reason") else ""
    return f"- **{claim['verdict']}**: {claim['text']}{found}{reason}"


def _score_and_interval(arm: Mapping[str, Any], metric: str) -> str:
    mean = arm["mean"].get(metric)
    if mean is None:
        return ours(arm, metric)
    some = "*" if partial(arm, metric) else ""
    return f"{spread(mean, arm['std'][metric])}{some} {limits(arm['interval'][metric])}"
