"""Subgroups of an external test, or of the test patients of a run, as a forest plot and tables."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lus_ray.data.labels import label_name
from lus_ray.evaluation.external.schema import ArmSubgroups, ColumnGroups, Estimate, ExternalResults
from lus_ray.evaluation.external.subgroups import MIN_PATIENTS
from lus_ray.report import formatting, metric_names, result_tables
from lus_ray.report.blocks import Block, Cell, Details, Forest, ForestRow, Paragraph, Table, texts
from lus_ray.report.conclusions import count
from lus_ray.report.estimate_cells import estimate_cell

COLUMN_NAMES = {"bmi": "body mass index"}
MAX_SMALL = 12
"""Small groups that a caption names; the table has all."""
UNDEFINED = Estimate(reason="undefined")
GROUPS = (
    "Each group is scored on its own clips. Groups of fewer than {least} patients and clips "
    "without a value are shown but not compared. Gap: best minus worst of the other groups; its "
    "interval covers the choice of these two among all pairs (max-t over the same draws of "
    "patients), so that it starts at 0 where no group is clearly worse. Each column is its own "
    "comparison: of twenty, about one starts above 0 by chance. Groups also differ in their mix of "
    "patients. A group of a few dozen patients cannot show a small gap."
)


def blocks(results: ExternalResults, labels: Sequence[str]) -> Iterable[Block]:
    """Per label the groups and gaps of the arm that was best on internal clips, the rest folded."""
    for label in labels:
        arms = [arm for arm in results.subgroups if arm.label == label and arm.columns]
        if not arms:
            continue
        first = _best_internal(results, arms, label)
        if plot := forest(first):
            yield plot
        if gaps := gap_table(first):
            yield gaps
        title = f"All groups of {count(len(arms), 'arm')}, {label_name(label)}"
        yield Details(title, tuple(all_tables(arms, first)))
    if any(arm.columns for arm in results.subgroups):
        yield Paragraph(GROUPS.format(least=MIN_PATIENTS))
    if unknown := unknown_columns(results.subgroups):
        yield Paragraph(f"Not known for any clip: {', '.join(unknown)}.")


def unknown_columns(arms: Sequence[ArmSubgroups]) -> list[str]:
    """Columns without a value for any arm, as they are printed."""
    every = [set(arm.unknown) for arm in arms]
    return (
        [column_name(name) for name in arms[0].unknown if all(name in own for own in every)]
        if arms
        else []
    )


def column_name(column: str) -> str:
    return COLUMN_NAMES.get(column, column)


def forest(arm: ArmSubgroups) -> Forest | None:
    """Every group of an arm on one axis; None without a score."""
    metric = arm.metrics[0]
    groups = [
        (f"By {column_name(column.column)}", rows)
        for column in arm.columns
        if (rows := tuple(_forest_rows(column, metric)))
    ]
    if not groups:
        return None
    (title, rows), *others = groups
    name = metric_names.name(metric, arm.label)
    groups = [(f"{name} of {arm.name} {title[:1].lower()}{title[1:]}", rows), *others]
    caption = "Dot: percent. Line: 95 % interval over patients. Grey: not known, not compared."
    small = [
        f"{column_name(column.column)} {group.group} ({group.num_patients})"
        for column in arm.columns
        for group in column.groups
        if group.num_patients < MIN_PATIENTS
    ]
    if small:
        shown = ", ".join(small[:MAX_SMALL]) + (" and others" if len(small) > MAX_SMALL else "")
        caption += f" Not drawn, fewer than {MIN_PATIENTS} patients: {shown}."
    return result_tables.make_forest("", groups, caption)


def all_tables(arms: Sequence[ArmSubgroups], first: ArmSubgroups) -> Iterable[Block]:
    """Groups of every arm, and gaps of all but the first, whose gaps stand above."""
    for arm in arms:
        if arm is not first and (gaps := gap_table(arm)):
            yield gaps
        yield group_table(arm)


def gap_table(arm: ArmSubgroups) -> Table | None:
    """Best minus worst group of every column; None where no two groups can be compared."""
    rows = []
    for own in arm.columns:
        if own.gap is not None:
            gap, low = estimate_cell(own.gap.difference), own.gap.difference.interval[0]
            name = metric_names.capitalize(column_name(own.column))
            shown = replace(gap, tone="worse" if low else "")
            rows.append((Cell(name), shown, *texts(own.gap.best, own.gap.worst)))
    if not rows:
        return None
    metric = metric_names.name(arm.metrics[0], arm.label)
    columns = ("Groups by", f"Gap in {metric}, points", "Best", "Worst")
    return Table(f"gaps {arm.name}", f"Gaps between groups, {arm.name}", columns, tuple(rows))


def group_table(arm: ArmSubgroups) -> Table:
    """Every group of an arm with its metrics."""
    rows = tuple(
        (
            Cell(
                f"{column_name(column.column)}: {group.group}",
                () if group.is_ranked else ("not compared",),
            ),
            formatting.number(group.num_patients, "d"),
            formatting.number(group.num_clips, "d"),
            *(estimate_cell(group.metrics.get(metric, UNDEFINED)) for metric in arm.metrics),
        )
        for column in arm.columns
        for group in column.groups
    )
    names = (f"{metric_names.title(metric, arm.label)}, %" for metric in arm.metrics)
    return Table(f"subgroups {arm.name}", arm.name, ("Group", "Patients", "Clips", *names), rows)


def _best_internal(
    results: ExternalResults, arms: Sequence[ArmSubgroups], label: str
) -> ArmSubgroups:
    """The arm without a leak of the highest internal mean: no external patient chooses it."""
    metric = results.metrics[label]
    internal = {
        own.name: own.metrics[metric].internal.value or 0.0
        for own in results.shifts
        if metric in own.metrics and not own.leak
    }
    return max(arms, key=lambda arm: internal.get(arm.name, 0.0))


def _forest_rows(column: ColumnGroups, metric: str) -> Iterable[ForestRow]:
    for group in column.groups:
        known = group.metrics.get(metric)
        if known is None or known.value is None or group.num_patients < MIN_PATIENTS:
            continue
        low, high = known.interval
        yield ForestRow(
            name=f"{group.group} ({group.num_patients} patients)",
            value=100 * known.value,
            low=formatting.percent(low),
            high=formatting.percent(high),
            published=None,
            text=f"{100 * known.value:.1f} {formatting.limits((low, high))}".strip(),
            is_baseline=not group.is_ranked,
        )
