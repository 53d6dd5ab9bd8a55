"""Words and sentences that several parts of the pack use."""

from collections.abc import Iterable, Mapping

from lus_ray.clip import BIOMARKERS, MASK_SCHEMES
from lus_ray.data.labels import label_name
from lus_ray.evaluation import frame_arms, mask_arms
from lus_ray.evaluation.schema import SplitCounts
from lus_ray.report import formatting, metric_names
from lus_ray.report.pack.checklist import Answer, filled, partly
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.models import MainModel

SPLITS = {"train": "training", "val": "validation", "test": "test"}
DEFINITIONS = {
    "severity": "severity of a clip in four grades, 0 to 3, after Soldati 2020",
    "frame_severity": "severity of every frame in four grades, 0 to 3, after Soldati 2020",
    "sf_ratio": "ratio of the oxygen saturation in percent to the inspired fraction of oxygen, in "
    "four classes: > 430, 275-430, 180-275, < 180",
    "disease": "diagnosis of the patient in seven classes, after Gare 2022",
    "diagnosis": "diagnosis of the patient in three classes: healthy, COVID-19, and other lung "
    "disease or pneumonia",
    "biomarkers": f"presence of {len(BIOMARKERS)} signs of the lung in a clip, yes or no for each, "
    "after Gare 2022",
}


def count(number: int | None, noun: str) -> str:
    if number is None:
        return f"an unknown number of {noun}s"
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def between(limits: tuple[int, int]) -> str:
    low, high = limits
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def join(names: Iterable[str]) -> str:
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def quote(names: Iterable[str]) -> str:
    """Names of arms, which may hold commas."""
    return join(f"“{name}”" for name in names)


def outcomes(facts: RunFacts) -> str:
    return join(label_name(label) for label in facts.labels) or "no label"


def define(label: str, facts: RunFacts) -> str:
    """What a label is, with its classes where it is one of the store's own."""
    if known := DEFINITIONS.get(label):
        return known
    scheme = mask_arms.scheme_of(label)
    if scheme in MASK_SCHEMES:
        return f"class of every pixel of a frame: {', '.join(MASK_SCHEMES[scheme])}"
    classes = next(
        (own.classes[label] for own in facts.contents.splits if label in own.classes), {}
    )
    return f"a label of the store with the classes {', '.join(classes) or 'not known yet'}"


def unit(label: str) -> str:
    is_of_frames = label == frame_arms.SEVERITY or mask_arms.scheme_of(label)
    return "frames" if is_of_frames else "clips"


def class_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in counts.items())


def describe_split(own: SplitCounts) -> str:
    """One split of a fold with its patients, clips and classes."""
    clips = "" if own.num_clips is None else f", {count(own.num_clips, 'clip')}"
    labels = [
        f"{unit(label)} by {label_name(label)} ({class_counts(counts)})"
        for label, counts in own.classes.items()
    ]
    name = f"Fold {own.fold}, {SPLITS[own.split]}"
    return "; ".join([f"{name}: {count(own.num_patients, 'patient')}{clips}", *labels]) + "."


def score(model: MainModel) -> str:
    """`AUC 71.2 % [60.1, 80.3], 12 test patients`."""
    if model.value is None:
        return "no score yet"
    metric = metric_names.name(model.metric, model.label)
    limits = formatting.limits(model.interval) or "(no interval)"
    tested = count(model.num_test_patients, "test patient")
    return f"{metric} {formatting.percent_text(model.value)} % {limits}, {tested}"


def simulated(facts: RunFacts, text: str) -> Answer:
    """An answer that is known where clips are simulated: `text` follows "The clips are ...;"."""
    if not facts.has_patients:
        return filled(f"The clips are simulated; {text}.")
    return (
        partly(f"The clips of the run are simulated; {text}.") if facts.is_synthetic else Answer()
    )


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = metric_names.capitalize(text.strip())
    return text if text.endswith((".", "?", "!")) else f"{text}."
