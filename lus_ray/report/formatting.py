"""The numbers as words: names of metrics and labels, and what stands in one cell of a table.

Scores are shown in percent, as the papers print them: `81.5 ± 1.0 [78.0, 84.2]` is the mean over
folds, its standard deviation over folds, and the 95 % interval over patients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lus_ray.evaluation import diagnosis, frame_arms, mask_arms
from lus_ray.figures import shorten

Contents = Mapping[str, Any]
ABSENT = "–"

OVER_IMAGES = (
    "mean ± standard deviation over the test images of all folds, or over as many as define the "
    "metric"
)

NAMES = {
    "auc": "AUC",
    "accuracy": "accuracy (micro F1)",
    "precision": "precision",
    "recall": "recall",
    "f1": "weighted F1",
    "macro_f1": "macro F1",
    "weighted_kappa": "weighted kappa",
    "group_accuracy": "group accuracy",
    "micro_f1": "micro F1",
    "setting_1": "setting 1",
    "k1": "K = 1",
    "k3": "K = 3",
    "k5": "K = 5",
    "k7": "K = 7",
    "video_annotated": "video annotated",
    "a3": "A = 3",
    "a4": "A = 4",
    "average": "average",
}
"""Metrics as they are printed."""

NAMES_OF_SIGNS = {"accuracy": "accuracy", "f1": "F1"}
"""The same for yes/no labels, whose micro F1 is another metric."""

LABELS = {
    "biomarkers": "Biomarkers",
    "severity": "Severity",
    "sf_ratio": "S/F ratio",
    "disease": "Disease",
    diagnosis.LABEL: "Diagnosis",
    frame_arms.LABEL: "Frame severity",
    **mask_arms.LABELS,
}
"""Labels as they are printed."""


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


def blocks(contents: Contents, label: str) -> list[tuple[str, list[str]]]:
    """Title and metrics of each table of a label; most have one, which needs no title."""
    shown = metrics_of(contents, label)
    return diagnosis.blocks(shown) if label == diagnosis.LABEL else [("", shown)]


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


def name(metric: str, label: str | None) -> str:
    """The metric as it is printed for this label."""
    if label == diagnosis.LABEL:
        return diagnosis.name(metric, NAMES)
    own = NAMES_OF_SIGNS if label == "biomarkers" else {}
    return own.get(metric) or NAMES.get(metric) or mask_arms.name(metric) or metric


def title(metric: str, label: str | None) -> str:
    """The metric as a column title."""
    return capital(name(metric, label))


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def label_of(contents: Contents, arm: str) -> str | None:
    """What an arm predicts; None for an arm that is not in the run."""
    return next((row["label"] for row in contents["arms"] if row["name"] == arm), None)


def marks(arm: Mapping[str, Any]) -> list[str]:
    """What must be known of an arm wherever its name stands, and its name does not say."""
    known = ["baseline" if arm["baseline"] else "", *(arm["leak"] or "").split(", ")]
    return [mark for mark in known if mark and mark not in arm["name"]]


def unit(label: str | None) -> str:
    """What is counted in the tables of this label."""
    if mask_arms.scheme_of(label):
        return "images"
    return "frames" if label == frame_arms.LABEL else "clips"


def explained(contents: Contents, label: str) -> list[tuple[str, str]]:
    """Title and meaning of the metrics whose names do not say enough."""
    shown = metrics_of(contents, label)
    if mask_arms.scheme_of(label):
        return [(capital(known), meaning) for known, meaning in mask_arms.explained(shown)]
    if label == diagnosis.LABEL and any(map(diagnosis.of_frames, shown)):
        return diagnosis.EXPLAINED
    if label != frame_arms.LABEL:
        return []
    return [(title(metric, label), frame_arms.EXPLAINED[metric]) for metric in shown]


def per_image(contents: Contents, label: str) -> list[list[str]]:
    """Head and rows of the table of single images and calibration; empty for other labels."""
    known = [arm for arm in arms_of(contents, label) if "per_image" in arm]
    if not known:
        return []
    metrics = list(known[0]["per_image"])
    head = ["arm", *(f"{name(metric, label)}, %" for metric in metrics)]
    rows = [[*head, "images", "expected calibration error, %"]]
    for arm in known:
        spreads = [arm["per_image"][metric] for metric in metrics]
        number = max(one["num_images"] for one in spreads)
        values = [_over_images(one, number) for one in spreads]
        rows.append([arm["name"], *values, str(number), share(arm["calibration_error"])])
    return rows


def _over_images(found: Mapping[str, Any], number: int) -> str:
    """`81.5 ± 1.0`, and over how many images where those are not all."""
    if found["mean"] is None:
        return ABSENT
    some = f" ({found['num_images']})" if found["num_images"] < number else ""
    return spread(found["mean"], found["std"]) + some


def gap(found: Mapping[str, Any]) -> list[str]:
    """Each difference of a gap by its name; those of single classes are in report.json alone."""
    return [
        f"{name(metric, found['label'])} {points(one)}"
        for metric, one in found["differences"].items()
        if not diagnosis.of_class(metric)
    ]


def points(found: Mapping[str, Any]) -> str:
    """A difference with its interval in points of 100."""
    if found["value"] is None:
        return "undefined"
    return f"{100 * found['value']:+.1f} {limits(found['interval'], sign='+')}".strip()


def share(value: float | None) -> str:
    """A share in percent, or a dash."""
    return ABSENT if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """A number with two decimals, or a dash."""
    return ABSENT if value is None else f"{value:.2f}"


def elements(row: Mapping[str, Any]) -> list[str]:
    """Neutral elements, mean ± standard deviation over folds where there are several."""
    alone = len(row["folds"]) < 2
    return [
        f"{mean:.3f}" + ("" if alone else f" ± {std:.3f}")
        for mean, std in zip(row["mean"], row["std"], strict=True)
    ]


def agreeing(raters: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """One row a rater and an arm: who, and its figures with the number of clips."""
    num_clips = {"num_clips": raters["num_clips"]}
    people = enumerate(raters["one_against_others"], start=1)
    found = [(f"rater {place}", {**row, **num_clips}) for place, row in people]
    return found + [(f"{row['name']} ({row['kind']})", row) for row in raters["arms"]]


def votes(raters: Mapping[str, Any]) -> str:
    """How often raters agree, in one sentence."""
    modal = ", ".join(
        f"at least {place} in {share(value)} %"
        for place, value in enumerate(raters["modal"], start=1)
        if place > 1
    )
    return (
        f"{raters['num_raters']} raters of {raters['num_clips']} clips: two raters agree in "
        f"{share(raters['pairwise'])} % of clips; the most frequent score was given by {modal}; "
        f"it is not the only one in {share(raters['mode_ties'])} %."
    )


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
    return points(found) if found and found["value"] is not None else ""


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
            f"source {name}": shorten(_flat(notes), 300) or ABSENT
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
