"""The domains of a run: scores over images and over patients, and paired tests of the arms."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lus_ray.data.labels import label_title
from lus_ray.evaluation.domains import TESTS
from lus_ray.evaluation.schema import DomainResult, DomainSpread, ReportContents
from lus_ray.evaluation.verdicts import ALPHA
from lus_ray.report import formatting, metric_names
from lus_ray.report.blocks import Block, Cell, Details, Paragraph, Points, Section, Table

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
    "Percent; mean ± standard deviation over the test images of all folds, as in the paper; over "
    "patients: of the patient means. Images and patients for which a metric is undefined are left "
    "out."
)


def section(contents: ReportContents) -> Iterable[Section]:
    blocks: list[Block] = []
    for entry in contents.domains or ():
        blocks.append(domain_table(entry, entry.main, name="domain"))
        blocks.append(Paragraph(_significance(entry)))
    if blocks:
        yield Section("Each domain", "domains", tuple(blocks), is_brief=True)


def details(contents: ReportContents) -> Iterable[Block]:
    for entry in contents.domains or ():
        everything = domain_table(entry, [arm.name for arm in entry.arms], name="domain all")
        blocks: list[Block] = [everything]
        if pairs := pair_table(entry):
            blocks += [pairs, Points(explain_tests(entry))]
        if entry.undefined:
            untested = tuple(f"{p.one} and {p.other}: {p.reason}" for p in entry.undefined)
            title = f"Pairs that could not be tested, and why ({len(untested)})"
            blocks.append(Details(title, (Points(untested),)))
        blocks.append(Paragraph("The raw p-values of all pairs of arms are in report.json."))
        yield Details(f"All arms and comparisons, {entry.domain}", tuple(blocks))


def domain_title(entry: DomainResult) -> str:
    others = [name for name in entry.called if name != entry.domain]
    aliases = f" (also {', '.join(others)})" if others else ""
    return f"{label_title(entry.label)}, {entry.domain}{aliases}"


def domain_table(entry: DomainResult, names: Sequence[str], *, name: str) -> Table:
    """The first metric with its paper and over patients, then the other metrics."""
    first, *others = entry.metrics
    title, *titles = (metric_names.title(metric, entry.label) for metric in entry.metrics)
    columns = ("Arm", title, "Paper", "Over patients", *titles, "Images", "Patients")
    rows = tuple(
        (
            Cell(arm.name),
            _domain_spread(arm.over_images[first]),
            formatting.spread_cell(*arm.published.get(first, (None, None))),
            _domain_spread(arm.over_patients[first]),
            *(
                _domain_spread(arm.over_images[metric], arm.published.get(metric))
                for metric in others
            ),
            formatting.number(arm.num_images, "d"),
            formatting.number(arm.num_patients, "d"),
        )
        for arm in entry.arms
        if arm.name in names
    )
    return Table(
        f"{name} {entry.domain}", domain_title(entry), columns, rows, SPREADS,
        brief=4 if name == "domain" else 0,
    )  # fmt: skip


def pair_table(entry: DomainResult) -> Table | None:
    """Each compared pair with its p before and after Holm in every test; None without a pair."""
    if not entry.compared:
        return None
    columns = ["Comparison", *(text for t in TESTS for text in (f"p over {t}", f"{t}, Holm"))]
    has_printed = any(entry.printed_p)
    rows = []
    for number, (one, other) in enumerate(entry.compared[:MAX_PAIRS]):
        row, column = entry.order.index(one), entry.order.index(other)
        cells = [Cell(f"{one} − {other}")]
        if has_printed:
            cells.append(Cell(entry.printed_p[number] or formatting.ABSENT))
        for test in TESTS:
            for matrix in (entry.tests[test].raw, entry.tests[test].adjusted):
                p = matrix[row][column]
                cells.append(Cell(formatting.p_value(p), numbers={"": p}))
        rows.append(tuple(cells))
    if has_printed:
        columns.insert(1, "p of the paper")
    return Table(
        f"comparisons {entry.domain}", f"Comparisons, {entry.domain}", tuple(columns), tuple(rows)
    )


def explain_tests(entry: DomainResult) -> tuple[str, ...]:
    """What was compared and corrected, and what each test assumes."""
    metric = metric_names.title(entry.tested, entry.label)
    num_patients = max(arm.num_patients for arm in entry.arms)
    num_hidden = max(0, len(entry.compared) - MAX_PAIRS)
    hidden = f"; {num_hidden} of them are in report.json only" if num_hidden else ""
    what = f"{metric}, two-sided; Holm over {len(entry.compared)} comparisons{hidden}."
    known = {"num_patients": num_patients, "num_draws": entry.num_draws}
    return (what, *(meaning.format(**known) for meaning in MEANINGS.values()))


def count_significant(entry: DomainResult, test: str) -> tuple[int, int]:
    """How many compared pairs are below 0.05 after Holm, and how many could be tested."""
    p = entry.tests[test].adjusted
    pairs = [p[row][column] for row in range(len(p)) for column in range(row)]
    tested = [value for value in pairs if value is not None]
    return sum(value < ALPHA for value in tested), len(tested)


def _significance(entry: DomainResult) -> str:
    counts = {t: count_significant(entry, t) for t in TESTS}
    texts = ", ".join(f"over {test} {few} of {many}" for test, (few, many) in counts.items())
    return f"Comparisons with p < 0.05 after Holm, {entry.domain}: {texts}."


def _domain_spread(
    spread: DomainSpread, published: tuple[float | int | None, float | int | None] | None = None
) -> Cell:
    paper = (f"paper {formatting.spread(*published)}",) if published else ()
    return replace(formatting.spread_cell(spread.mean, spread.std), remarks=paper)
