"""External beside internal metrics, as tables."""

from collections.abc import Iterable, Sequence

from lus_ray.data.labels import label_name, label_title
from lus_ray.evaluation.external.schema import ArmShift, ExternalResults
from lus_ray.report import formatting, metric_names
from lus_ray.report.blocks import Block, Cell, Details, Paragraph, Table
from lus_ray.report.conclusions import count
from lus_ray.report.estimate_cells import estimate_cell

SHIFT = (
    "Percent with 95 % intervals over patients; differences in points. Both sides have their own "
    "patients. A difference is due to the model, to images of another kind, or to another mix of "
    "patients: these numbers do not tell which."
)
LEAKS = (
    "The internal score of an arm with a remark on patients, splits or selection is too high: the "
    "model trained on patients whom it tests, or they chose its epoch. Its external score is not."
)


def blocks(results: ExternalResults, labels: Sequence[str]) -> Iterable[Block]:
    """Per label the main arms by one metric, and all arms by all metrics folded."""
    for label in labels:
        arms = [arm for arm in results.shifts if arm.label == label]
        metric = results.metrics[label]
        if not any(arm.num_external for arm in arms):
            yield Paragraph(f"No external clip is annotated with {label_name(label)}.")
            continue
        metrics = list(dict.fromkeys(m for arm in arms for m in arm.metrics))
        if not metrics:
            yield Paragraph(f"No arm has a score of {label_name(label)} on both sides.")
            continue
        main = [arm for arm in arms if arm.name in results.main[label]]
        yield shift_table(f"external {label}", main, label, [metric], brief=4)
        everything = shift_table(f"external all {label}", arms, label, metrics)
        yield Details(
            f"All metrics of {count(len(arms), 'arm')}, {label_name(label)}", (everything,)
        )
    for note in results.notes:
        yield Paragraph(note, is_notice=True)
    if any(arm.leak for arm in results.shifts):
        yield Paragraph(LEAKS)
    yield Paragraph(SHIFT)


def shift_table(
    name: str, arms: Sequence[ArmShift], label: str, metrics: Sequence[str], *, brief: int = 0
) -> Table:
    """Metrics of arms on both sides with their difference, a row per arm and metric."""
    several = len(metrics) > 1
    rows = tuple(
        (
            Cell(
                metric_names.short_name(arm.name, label)
                + (f": {metric_names.name(metric, label)}" if several else ""),
                tuple(filter(None, arm.leak.split(", "))),
            ),
            estimate_cell(arm.metrics[metric].internal),
            estimate_cell(arm.metrics[metric].external),
            estimate_cell(arm.metrics[metric].difference, sign="+"),
            formatting.number(arm.num_internal, "d"),
            formatting.number(arm.num_external, "d"),
        )
        for arm in arms
        for metric in metrics
        if metric in arm.metrics
    )
    title = label_title(label) + ("" if several else f": {metric_names.name(metrics[0], label)}")
    columns = (
        "Arm", "Internal", "External", "External − internal", "Internal patients",
        "External patients",
    )  # fmt: skip
    return Table(name, title, columns, rows, brief=brief)
