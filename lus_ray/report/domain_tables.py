"""The tables of each domain: one of arms, and one of p-values. Scores are in percent."""

from lus_ray.evaluation.domains import TESTS
from lus_ray.evaluation.schema import DomainResult, DomainSpread
from lus_ray.evaluation.verdicts import ALPHA
from lus_ray.report import formatting, metric_names

MAX_PAIRS = 20
"""Rows of the table of p-values; report.json has all."""

MEANINGS = {
    "images": "Paired t-test over images: the published test as the paper describes it. It treats "
    "images as independent observations, which images of one patient are not, so its p-values are "
    "too small.",
    "patients": "Paired t-test over patients: one observation per patient, the mean over the "
    "images. Patients are independent, but with {num_patients} of them a difference is significant "
    "only where nearly all agree.",
    "bootstrap": "Bootstrap of patients: the mean difference over images in {num_draws:,} draws of "
    "patients with replacement, each with all images. No normal distribution is assumed, but with "
    "few patients the test is overconfident: where every patient favours one arm, no draw "
    "disagrees.",
}

SPREADS = (
    "Mean ± standard deviation over the test images of all folds, as in the paper; over patients: "
    "of the patient means. Images and patients for which a metric is undefined are left out."
)


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


def pair_table(entry: DomainResult) -> list[list[str]]:
    """Head and rows: each compared pair with its p before and after Holm in every test."""
    head = ["comparison", *(text for test in TESTS for text in (f"p over {test}", "after Holm"))]
    rows = []
    for one, other in entry.compared[:MAX_PAIRS]:
        row, column = entry.order.index(one), entry.order.index(other)
        cells = [f"{one} − {other}"]
        for test in TESTS:
            p = entry.tests[test]
            cells += [
                formatting.p_value(p.raw[row][column]),
                formatting.p_value(p.adjusted[row][column]),
            ]
        rows.append(cells)
    return [head, *rows] if rows else []


def explain_tests(entry: DomainResult) -> list[str]:
    """What was compared and corrected, and what each test assumes."""
    metric = metric_names.name(entry.tested, entry.label)
    num_patients = max(arm.num_patients for arm in entry.arms)
    num_hidden = max(0, len(entry.compared) - MAX_PAIRS)
    hidden = f"; {num_hidden} of them are in report.json only" if num_hidden else ""
    return [
        f"{metric_names.capitalize(metric)}, two-sided; Holm over {len(entry.compared)} "
        f"comparisons{hidden}.",
        *(
            m.format(num_patients=num_patients, num_draws=entry.num_draws)
            for m in MEANINGS.values()
        ),
    ]


def count_significant(entry: DomainResult, test: str) -> tuple[int, int]:
    """How many compared pairs are below 0.05 after Holm, and how many could be tested."""
    p = entry.tests[test].adjusted
    pairs = [p[row][column] for row in range(len(p)) for column in range(row)]
    tested = [value for value in pairs if value is not None]
    return sum(value < ALPHA for value in tested), len(tested)


def _spread(spread: DomainSpread) -> str:
    return formatting.spread(spread.mean, spread.std)
