"""Each domain in words: one table of arms, and one matrix of p-values a test.

Scores are in percent. A matrix holds p-values after Holm, below its diagonal; its columns are the
arms by their number, so that a dozen of them can be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lus_ray.evaluation.domains import TESTS
from lus_ray.report import formatting

LEVEL = 0.05
NUM_SHOWN = 12
"""So many arms a matrix shows, in the order of `order`; report.json has all of them."""

TITLES = {
    "images": "Paired t-test over images",
    "patients": "Paired t-test over patients",
    "bootstrap": "Bootstrap of patients",
}

_MEANINGS = {
    "images": "The published test, as the paper is read. It takes images for independent "
    "observations, which images of one patient are not: its p-values are too small.",
    "patients": "One observation a patient, the mean over the images. Patients are independent, "
    "but with {num_patients} of them little can be significant: a difference must be alike in "
    "nearly all.",
    "bootstrap": "The mean difference over images when patients are drawn with replacement, each "
    "with all images, {num_draws:,} draws. Nothing need be normal, but with few patients it is too "
    "sure: where every patient favours one arm, no draw disagrees.",
}

SPREADS = (
    "Mean ± standard deviation over the test images of all folds, as the paper prints it; over "
    "patients: of the mean of each patient. An image or a patient that leaves a metric undefined "
    "is left out."
)


@dataclass(frozen=True)
class Matrix:
    """One test: its title, what it assumes, and a row an arm of `(text, below 0.05)`."""

    title: str
    meaning: str
    names: tuple[str, ...]
    rows: tuple[tuple[tuple[str, bool], ...], ...]


def entries(contents: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The domains in `report.json`; none where the experiment compares no domains."""
    found: Sequence[Mapping[str, Any]] = contents.get("domains", ())
    return found


def title(entry: Mapping[str, Any]) -> str:
    """The label and the domain, with the other names that it goes by."""
    others = [name for name in entry["called"] if name != entry["domain"]]
    label = formatting.LABELS.get(entry["label"], entry["label"])
    return f"{label}, {entry['domain']}" + (f" (also {', '.join(others)})" if others else "")


def arms(entry: Mapping[str, Any]) -> list[list[str]]:
    """Head and rows of the table: the first metric with its paper and over patients, the others."""
    first, *others = entry["metrics"]
    name = formatting.name(first, entry["label"])
    head = ["arm", f"{name}, %", "paper, %", f"{name} over patients, %"]
    head += [f"{formatting.name(metric, entry['label'])}, %" for metric in others]
    rows = [[*head, "images", "patients"]]
    for arm in entry["arms"]:
        over_patients = _spread(arm["over_patients"][first])
        row = [arm["name"], _spread(arm["over_images"][first]), _paper(arm, first), over_patients]
        for metric in others:
            printed = f"; paper {_paper(arm, metric)}" if metric in arm["published"] else ""
            row.append(_spread(arm["over_images"][metric]) + printed)
        rows.append([*row, str(arm["num_images"]), str(arm["num_patients"])])
    return rows


def matrices(entry: Mapping[str, Any]) -> list[Matrix]:
    """The matrix of each test, over the first arms that are corrected for one another."""
    names = tuple(entry["corrected"][:NUM_SHOWN])
    columns = range(len(names) - 1)
    found = []
    for test in TESTS if len(names) > 1 else ():
        p = entry["tests"][test]["adjusted"]
        rows = tuple(
            tuple(_cell(p[row][column]) if column < row else ("", False) for column in columns)
            for row in range(len(names))
        )
        found.append(Matrix(TITLES[test], _meaning(entry, test), names, rows))
    return found


def below(entry: Mapping[str, Any], test: str) -> tuple[int, int]:
    """How many pairs are below 0.05 after Holm, and of how many that could be tested."""
    p = entry["tests"][test]["adjusted"]
    known = [p[row][column] for row in range(len(p)) for column in range(row)]
    tested = [value for value in known if value is not None]
    return sum(value < LEVEL for value in tested), len(tested)


def printed(p: float | None) -> str:
    """A p-value: `<0.001`, `0.043`, `0.23`, or a dash."""
    if p is None:
        return formatting.ABSENT
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _meaning(entry: Mapping[str, Any], test: str) -> str:
    """What the test assumes, and what it was corrected for."""
    num_patients = max(arm["num_patients"] for arm in entry["arms"])
    meaning = _MEANINGS[test].format(num_patients=num_patients, num_draws=entry["num_draws"])
    significant, num_pairs = below(entry, test)
    metric = formatting.name(entry["tested"], entry["label"])
    hidden = ", ".join(entry["corrected"][NUM_SHOWN:])
    return (
        f"{metric}, two-sided, Holm over {num_pairs} pairs, {significant} below 0.05"
        f"{f', those of {hidden} in report.json alone' if hidden else ''}. {meaning}"
    )


def _cell(p: float | None) -> tuple[str, bool]:
    return printed(p), p is not None and p < LEVEL


def _paper(arm: Mapping[str, Any], metric: str) -> str:
    value = arm["published"].get(metric)
    return formatting.spread(*value) if value else formatting.ABSENT


def _spread(found: Mapping[str, Any]) -> str:
    return (
        formatting.ABSENT
        if found["mean"] is None
        else formatting.spread(found["mean"], found["std"])
    )
