"""The tables of each domain: one of arms, and one matrix of p-values per test.

Scores are in percent. A matrix holds p-values after Holm, below its diagonal; its columns are
numbered arms, so that a dozen fit on a page.
"""

from dataclasses import dataclass

from lus_ray.evaluation.domains import TESTS
from lus_ray.evaluation.schema import DomainResult, DomainSpread, Number
from lus_ray.report import formatting, metric_names

LEVEL = 0.05
NUM_SHOWN = 12
"""Arms in a matrix; report.json has all of them."""

TITLES = {
    "images": "Paired t-test over images",
    "patients": "Paired t-test over patients",
    "bootstrap": "Bootstrap of patients",
}

_MEANINGS = {
    "images": "The published test as the paper describes it. It treats images as independent "
    "observations, which images of one patient are not, so its p-values are too small.",
    "patients": "One observation per patient, the mean over the images. Patients are independent, "
    "but with {num_patients} of them a difference is significant only where nearly all agree.",
    "bootstrap": "The mean difference over images in {num_draws:,} draws of patients with "
    "replacement, each with all images. No normal distribution is assumed, but with few patients "
    "the test is overconfident: where every patient favours one arm, no draw disagrees.",
}

SPREADS = (
    "Mean ± standard deviation over the test images of all folds, as in the paper; over patients: "
    "of the patient means. Images and patients for which a metric is undefined are left out."
)


@dataclass(frozen=True)
class PValueMatrix:
    """One test: its title, what it assumes, and per arm a row of (text, below 0.05)."""

    title: str
    meaning: str
    names: tuple[str, ...]
    rows: tuple[tuple[tuple[str, bool], ...], ...]


def title(entry: DomainResult) -> str:
    others = [name for name in entry.called if name != entry.domain]
    aliases = f" (also {', '.join(others)})" if others else ""
    return f"{metric_names.label_title(entry.label)}, {entry.domain}{aliases}"


def arm_table(entry: DomainResult) -> list[list[str]]:
    """Head and rows: the first metric with its paper and over patients, then the other metrics."""
    first, *others = entry.metrics
    name, *names = (metric_names.name(metric, entry.label) for metric in entry.metrics)
    head = ["arm", f"{name}, %", "paper, %", f"{name} over patients, %"]
    rows = [[*head, *(f"{other}, %" for other in names), "images", "patients"]]
    for arm in entry.arms:
        over_patients = _spread(arm.over_patients[first])
        paper = {metric: formatting.spread(*limits) for metric, limits in arm.published.items()}
        first_paper = paper.get(first, formatting.ABSENT)
        row = [arm.name, _spread(arm.over_images[first]), first_paper, over_patients]
        for metric in others:
            beside = f"; paper {paper[metric]}" if metric in paper else ""
            row.append(_spread(arm.over_images[metric]) + beside)
        rows.append([*row, str(arm.num_images), str(arm.num_patients)])
    return rows


def matrices(entry: DomainResult) -> list[PValueMatrix]:
    """The matrix of each test over the first corrected arms; none for a single arm."""
    names = entry.corrected[:NUM_SHOWN]
    columns = range(len(names) - 1)
    results = []
    for test in TESTS if len(names) > 1 else ():
        p = entry.tests[test].adjusted
        rows = tuple(
            tuple(_cell(p[row][column]) if column < row else ("", False) for column in columns)
            for row in range(len(names))
        )
        results.append(PValueMatrix(TITLES[test], _meaning(entry, test), names, rows))
    return results


def count_significant(entry: DomainResult, test: str) -> tuple[int, int]:
    """How many pairs are below 0.05 after Holm, and how many could be tested."""
    p = entry.tests[test].adjusted
    pairs = [p[row][column] for row in range(len(p)) for column in range(row)]
    tested = [value for value in pairs if value is not None]
    return sum(value < LEVEL for value in tested), len(tested)


def format_p(p: Number) -> str:
    if p is None:
        return formatting.ABSENT
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _meaning(entry: DomainResult, test: str) -> str:
    num_patients = max(arm.num_patients for arm in entry.arms)
    meaning = _MEANINGS[test].format(num_patients=num_patients, num_draws=entry.num_draws)
    significant, num_pairs = count_significant(entry, test)
    metric = metric_names.name(entry.tested, entry.label)
    hidden = ", ".join(entry.corrected[NUM_SHOWN:])
    return (
        f"{metric}, two-sided, Holm over {num_pairs} pairs, {significant} below 0.05"
        f"{f', those of {hidden} in report.json only' if hidden else ''}. {meaning}"
    )


def _cell(p: Number) -> tuple[str, bool]:
    return format_p(p), p is not None and p < LEVEL


def _spread(spread: DomainSpread) -> str:
    return formatting.spread(spread.mean, spread.std)
