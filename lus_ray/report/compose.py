"""The document of a run: the finding first, then the main arms, everything else folded."""

from collections.abc import Iterable

from lus_ray.data.labels import label_name
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import MissingCell, ReportContents
from lus_ray.evaluation.scored_arms import Arms
from lus_ray.report import (
    conclusions,
    detail_tables,
    domain_tables,
    formatting,
    metric_names,
    pictures,
    result_tables,
    search_tables,
    shared_costs,
)
from lus_ray.report.blocks import (
    Block,
    Box,
    Claims,
    Details,
    Document,
    Facts,
    Paragraph,
    Points,
    Section,
    Table,
)
from lus_ray.report.external import section as external_section
from lus_ray.runs import leakage
from lus_ray.runs.cell import name_fold

RESEARCH = (
    "For research only. This is not a medical device. No number in this report may guide the "
    "diagnosis or the care of a patient."
)
GAPS = (
    "A published protocol that leaks minus its leak-free counterpart, in points; above 0 the "
    "published protocol is too optimistic."
)
TRAINING = "One colour per fold. The validation score, where there is one, chose the epoch{but}."
NUM_GAP_METRICS = 2
MAX_ROWS = 15
"""A longer cohort table is folded."""


def compose(contents: ReportContents, arms: Arms, run: RunResults) -> Document:
    sections = (
        results_section(contents),
        *external_section.section(run.out, run.record),
        *domain_tables.section(contents),
        *_experts(contents),
        *_gaps(contents),
        _cohort(contents),
        *_examples(run, contents),
        *search_tables.section(contents.searches),
        _costs(contents),
        details_section(contents, arms),
    )
    title = contents.title or contents.experiment
    return Document(title, tuple(lead_blocks(contents)), sections, footer=RESEARCH)


def conclusion_box(contents: ReportContents) -> Box:
    found = conclusions.conclude(contents)
    items = (("Data", found.data), ("Finding", found.finding), ("How sure", found.certainty))
    return Box(items, facts(contents))


def facts(contents: ReportContents) -> tuple[str, ...]:
    """When, where and with what the numbers were made."""
    known = (
        contents.started,
        formatting.machine(contents),
        f"lus_ray {contents.version}" if contents.version else "",
        f"commit {contents.commit}" if contents.commit else "",
        f"experiment {contents.experiment}",
    )
    return tuple(fact for fact in known if fact)


def claims_block(contents: ReportContents) -> Claims:
    items = tuple(
        (
            claim.verdict,
            claim.text,
            f"{claim.better} − {claim.than}: {formatting.claim_evidence(contents, claim)}",
        )
        for claim in contents.claims
    )
    return Claims("Claims of the paper", items)


def lead_blocks(contents: ReportContents) -> Iterable[Block]:
    """The first screen: what was found, the main arms, the claims, and what limits them."""
    yield conclusion_box(contents)
    if forest := result_tables.forest(contents, conclusions.order_labels(contents)):
        yield forest
    if contents.claims:
        yield claims_block(contents)
    if contents.missing:
        cells = tuple(map(_cell_name, contents.missing))
        yield Paragraph(
            f"Cells missing: {len(cells)}. Means cover the finished folds and are marked. Run the "
            "same command again to complete them.",
            is_notice=True,
        )
        yield Details("Which cells are missing", (Points(cells),))
    for warning in contents.warnings:
        yield Paragraph(warning, is_notice=True)


def _cell_name(cell: MissingCell) -> str:
    return f"{cell.arm}, {name_fold(cell.fold, cell.seed)}"


def results_section(contents: ReportContents) -> Section:
    """The main arms of each label, and all arms with all metrics, folded."""
    blocks: list[Block] = []
    for label in conclusions.order_labels(contents):
        blocks += [result_tables.main_table(contents, label), _all_arms(contents, label)]
    blocks.append(Paragraph(formatting.caption(result_tables.MAIN, contents)))
    return Section("Results", "results", tuple(blocks), is_brief=True)


def _all_arms(contents: ReportContents, label: str) -> Details:
    meanings = tuple(metric_names.explain(contents.metrics_of(label), label))
    blocks: list[Block] = [
        *result_tables.all_tables(contents, label),
        *([Facts(meanings)] if meanings else []),
        *_undefined(contents, label),
    ]
    if images := detail_tables.image_table(contents, label):
        blocks.append(images)
    num_arms = len(contents.arms_of(label))
    return Details(f"All metrics of {num_arms} arm{'s' * (num_arms != 1)}", tuple(blocks))


def _experts(contents: ReportContents) -> Iterable[Section]:
    tables = [
        result_tables.expert_table(contents, label) for label in conclusions.order_labels(contents)
    ]
    if shown := tuple(table for table in tables if table is not None):
        yield Section("Experts by the features that they read", "experts", shown, is_grid=True)


def _gaps(contents: ReportContents) -> Iterable[Section]:
    if contents.gaps:
        short = [formatting.gap(own, num_metrics=NUM_GAP_METRICS) for own in contents.gaps]
        whole = Points(tuple(formatting.gap(own) for own in contents.gaps))
        blocks = (Paragraph(GAPS), Points(tuple(short)), Details("In all metrics", (whole,)))
        yield Section("Gaps between protocols", "gaps", blocks, is_brief=True)


def _raters(contents: ReportContents) -> Iterable[Block]:
    if (raters := contents.raters) is None:
        return
    blocks: tuple[Block, ...] = (Paragraph(f"Not shown: {raters.reason}."),)
    if not raters.reason:
        votes = Paragraph(detail_tables.describe_votes(raters))
        blocks = (votes, detail_tables.rater_table(raters))
        if remark := contents.remarks.get("raters"):
            blocks = (*blocks, Paragraph(remark))
    yield Details("Raters", blocks)


def _cohort(contents: ReportContents) -> Section:
    table = detail_tables.cohort_table(contents)
    folded = len(table.rows) > MAX_ROWS
    block = Details(f"All {len(contents.folds['sizes'])} folds", (table,)) if folded else table
    return Section("Cohort", "cohort", (block,))


def _examples(run: RunResults, contents: ReportContents) -> Iterable[Section]:
    if blocks := pictures.draw_examples(run, contents):
        yield Section("Example clips", "clips", tuple(blocks))


def _costs(contents: ReportContents) -> Section:
    spent = [arm for arm in contents.arms if arm.cost]
    if not spent:
        return Section("Costs", "costs", (Paragraph("No finished cell has measured costs."),))
    sums = [
        f"{formatting.duration(total)}{unit}"
        for name, unit in (("cpu_s", " of CPU time"), ("gpu_s", " of GPU time"))
        if (total := sum(arm.cost.get(name) or 0 for arm in spent))
    ]
    top = sorted(spent, key=lambda arm: -(arm.cost.get("wall_s") or 0))
    top = top[: detail_tables.NUM_COSTS]
    few = detail_tables.cost_table(top, name="", title="")
    rest = detail_tables.cost_table(spent, name="costs", title="Costs of all arms")
    blocks: tuple[Block, ...] = (
        Paragraph(f"{len(spent)} arms took {' and '.join(sums) or 'no measured time'} in all."),
        few if len(spent) > len(top) else rest,
    )
    if shared := shared_costs.shared_cost_table(spent):
        remark = contents.remarks.get("costs")
        blocks = (*blocks, shared, *([Paragraph(remark)] if remark else []))
    if len(spent) > len(top):
        blocks = (*blocks, Details(f"All {len(spent)} arms", (rest,)))
    return Section("Costs", "costs", blocks)


def details_section(contents: ReportContents, arms: Arms) -> Section:
    """Curves, classes, raters, notes and where the numbers come from."""
    blocks: list[Block] = []
    for label in conclusions.order_labels(contents):
        name = label_name(label)
        curves = pictures.draw_curves(arms, contents.highlights[label], label)
        classes = _class_tables(contents, label)
        if curves or classes:
            blocks.append(Details(f"Curves and classes, {name}", (*curves, *classes)))
    blocks += domain_tables.details(contents)
    if contents.claims:
        blocks.append(Details("Tests of the claims", (result_tables.claim_table(contents),)))
    blocks += _raters(contents)
    if contents.neutral:
        neutral = detail_tables.neutral_table(contents.neutral)
        blocks.append(Details("Learned neutral elements", (neutral,)))
    if training := pictures.draw_training(arms):
        chosen_on_test = leakage.SELECTED in contents.notes
        but = ", except for arms marked selected on test" if chosen_on_test else ""
        note = Paragraph(TRAINING.format(but=but))
        blocks.append(Details("Training", (note, *training)))
    if notes := tuple(f"{_cell_name(own)}: {own.note}" for own in contents.cell_notes):
        blocks.append(Details(f"Notes of cells ({len(notes)})", (Points(notes),)))
    blocks.append(Details("How to read this", (Facts(tuple(contents.notes.items())),)))
    trace = tuple(formatting.provenance(contents).items())
    blocks.append(Details("Provenance", (Facts(trace),)))
    return Section("Everything else", "details", tuple(blocks))


def _undefined(contents: ReportContents, label: str) -> Iterable[Block]:
    arms: dict[tuple[str, str], list[str]] = {}
    for arm in contents.arms_of(label):
        for item in arm.undefined.items():
            arms.setdefault(item, []).append(arm.name)
    if arms:
        points = tuple(
            f"{metric_names.name(metric, label)} of {'; '.join(names)}: {reason}"
            for (metric, reason), names in arms.items()
        )
        yield Details(f"What is undefined or missing, and why ({len(points)})", (Points(points),))


def _class_tables(contents: ReportContents, label: str) -> list[Table]:
    rows = contents.arms_of(label)
    shown = [a for a in rows if a.classes and (a.baseline or a.name in contents.highlights[label])]
    tables = [detail_tables.class_table(shown, label)] if shown else []
    return tables + [detail_tables.biomarker_table(arm) for arm in rows if arm.biomarkers]
