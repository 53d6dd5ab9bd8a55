"""Tables of results: the main arms of a label, all its arms, its experts, the paper's claims."""

from collections.abc import Iterable, Sequence

from lus_ray.data.labels import label_name, label_title
from lus_ray.evaluation.schema import ArmResult, ClaimResult, Number, ReportContents
from lus_ray.report import conclusions, formatting, metric_names
from lus_ray.report.blocks import Cell, Forest, ForestRow, Table

NUM_OTHERS = 3
"""Further metrics in the table of main arms."""

MAIN = (
    "Percent; {scores}, 95 % interval over {resampled}, difference to the best baseline in points "
    "with its paired 95 % interval."
)
ALL = (
    "Percent; {scores}, [95 % interval over {resampled}], Δ paired difference to the best baseline."
)
EXPERTS = (
    "{metric}, %; a stronger colour is higher. Bold: the interval of the difference to the best "
    "baseline, {baseline}, lies above 0. Intervals, differences and paper: all metrics above."
)
FOREST = "Dot: {mean}, percent. Line: 95 % interval over {resampled}."
DIAMOND = " Diamond: the paper."
TICK_STEPS = (5, 10, 20, 25)
NUM_TICKS = 6


def main_table(contents: ReportContents, label: str) -> Table:
    """The main arms with interval, difference and paper, then a few further metrics."""
    first, *others = _leading_metrics(contents, label)
    others = [metric for metric in others if not metric_names.is_of_class(metric)][:NUM_OTHERS]
    paper = contents.evaluation_of is None
    columns = (
        "Arm",
        metric_names.title(first, label),
        "95 % interval",
        "To the baseline",
        *(["Paper"] if paper else []),
        *(metric_names.title(metric, label) for metric in others),
        "Patients",
    )
    arms = main_arms(contents, label)
    rows = tuple(
        (
            formatting.arm_cell(arm, metric_names.short_name(arm.name, label)),
            formatting.score_cell(arm, first),
            formatting.interval_cell(arm.interval.get(first)),
            formatting.difference_cell(arm, first),
            *([formatting.paper_cell(arm, first)] if paper else []),
            *(formatting.score_cell(arm, metric) for metric in others),
            formatting.number(arm.num_patients, "d"),
        )
        for arm in arms
    )
    return Table(
        f"main {label}",
        label_title(label),
        columns,
        rows,
        brief=4,
        strong=frozenset(_best(arms, first)),
        plain=frozenset(n for n, arm in enumerate(arms) if arm.baseline),
    )


def all_tables(contents: ReportContents, label: str) -> list[Table]:
    """Every arm with every metric; several tables where a label has several kinds of metrics."""
    tables = []
    for number, (title, metrics) in enumerate(metric_names.tables(contents, label)):
        names = [f"{metric_names.title(metric, label)}, %" for metric in metrics]
        arms = contents.arms_of(label)
        rows = tuple(
            (
                formatting.arm_cell(arm),
                *(full_score_cell(arm, metric) for metric in metrics),
                formatting.number(arm.num_patients, "d"),
            )
            for arm in arms
        )
        tables.append(
            Table(
                f"all {label}" + (f" {number}" if number else ""),
                title or f"All arms, {label_name(label)}",
                ("Arm", *names, "Patients"),
                rows,
                formatting.caption(ALL, contents),
                strong=frozenset(
                    n for n, arm in enumerate(arms) if arm.name in contents.highlights[label]
                ),
                plain=frozenset(n for n, arm in enumerate(arms) if arm.baseline),
            )
        )
    return tables


def expert_table(contents: ReportContents, label: str) -> Table | None:
    """Experts of a label: classifiers by the features that they read; None below two of a kind."""
    metric = conclusions.leading_metric(contents, label)
    experts = [a for a in contents.arms_of(label) if a.kind and a.reads and not a.baseline]
    if metric is None or len({arm.kind for arm in experts}) < 2:
        return None
    by_place = {(arm.kind, arm.reads): arm for arm in experts}
    features = list(dict.fromkeys(arm.reads or "" for arm in experts))
    values = [float(value) for arm in experts if (value := arm.mean.get(metric)) is not None]
    rows = tuple(
        (Cell(kind), *(_shaded(by_place.get((kind, read)), metric, values) for read in features))
        for kind in dict.fromkeys(arm.kind or "" for arm in experts)
    )
    baselines = {a.difference[metric].to for a in experts if metric in a.difference}
    caption = EXPERTS.format(
        metric=metric_names.title(metric, label),
        baseline=", ".join(sorted(metric_names.short_name(b, label) for b in baselines)) or "none",
    )
    return Table(f"experts {label}", label_title(label), ("Expert", *features), rows, caption)


def claim_table(contents: ReportContents) -> Table:
    """The numbers behind every verdict."""
    columns = (
        "Claim", "Verdict", "Difference", "95 % interval", "Corrected interval", "p",
        "Corrected p", "p of the paper", "Margin", "Would have shown", "Patients",
    )  # fmt: skip
    rows = tuple(_claim_row(claim) for claim in contents.claims)
    caption = "Points of percent; corrected for the number of claims (Holm)."
    return Table("claims", "Tests of the claims", columns, rows, caption)


def forest(contents: ReportContents, labels: Iterable[str]) -> Forest | None:
    """The main arms of every label on one axis; None without a score."""
    groups = []
    for label in labels:
        metric = conclusions.leading_metric(contents, label)
        rows = [_forest_row(arm, metric) for arm in main_arms(contents, label) if metric]
        if shown := tuple(row for row in rows if row is not None):
            name = metric_names.name(metric or "", label)
            groups.append((f"{label_title(label)}: {name}", shown))
    caption = formatting.caption(FOREST, contents)
    if any(row.published is not None for _, rows in groups for row in rows):
        caption += DIAMOND
    return make_forest("Main arms", groups, caption)


def make_forest(
    title: str, groups: Sequence[tuple[str, tuple[ForestRow, ...]]], caption: str
) -> Forest | None:
    """Groups of rows on one axis with round ticks; None without a value."""
    values = [
        value
        for _, rows in groups
        for row in rows
        for value in (row.value, row.low, row.high, row.published)
        if value is not None
    ]
    if not values:
        return None
    step = next((step for step in TICK_STEPS if (max(values) - min(values)) / step < NUM_TICKS), 25)
    low, high = int(min(values) // step) * step, int(-(-max(values) // step)) * step
    high = max(high, low + step)
    ticks = tuple(range(low, high + 1, step))
    return Forest(title, tuple(groups), low, high, ticks, caption)


def main_arms(contents: ReportContents, label: str) -> list[ArmResult]:
    """The highlighted arms; all where none has a score."""
    arms = contents.arms_of(label)
    return [arm for arm in arms if arm.name in contents.highlights[label]] or arms


def full_score_cell(arm: ArmResult, metric: str) -> Cell:
    """A score with its interval, its difference to the best baseline and the paper."""
    own, versus = formatting.score_cell(arm, metric), formatting.difference_cell(arm, metric)
    limits = formatting.limits(arm.interval.get(metric))
    paper = formatting.paper_cell(arm, metric)
    remarks = (
        *own.remarks,
        limits,
        "" if versus.text == formatting.ABSENT else f"Δ {versus.text}",
        "" if paper.text == formatting.ABSENT else f"paper {paper.text}",
    )
    low, high = arm.interval.get(metric, (None, None))
    numbers = {
        **own.numbers,
        "low": formatting.percent(low),
        "high": formatting.percent(high),
        **{f"difference {name}".strip(): value for name, value in versus.numbers.items()},
        **{f"paper {name}".strip(): value for name, value in paper.numbers.items()},
    }
    tone = own.tone or versus.tone
    return Cell(own.text, tuple(filter(None, remarks)), numbers, tone=tone)


def _leading_metrics(contents: ReportContents, label: str) -> list[str]:
    metrics = contents.metrics_of(label)
    first = conclusions.leading_metric(contents, label) or metrics[0]
    return [first, *(metric for metric in metrics if metric != first)]


def _best(arms: Sequence[ArmResult], metric: str) -> list[int]:
    scored = [(arm.mean[metric], n) for n, arm in enumerate(arms) if arm.mean.get(metric)]
    return [max(scored, key=lambda pair: float(pair[0] or 0))[1]] if scored else []


def _shaded(arm: ArmResult | None, metric: str, values: Sequence[float]) -> Cell:
    mean = None if arm is None else arm.mean.get(metric)
    if arm is None or mean is None:
        return Cell(formatting.ABSENT)
    low, high = min(values), max(values)
    shade = (mean - low) / (high - low) if high > low else 0.5
    difference = arm.difference.get(metric)
    tone = formatting.tone(difference) if difference else ""
    return Cell(
        f"{100 * mean:.1f}",
        numbers={"": formatting.percent(mean)},
        shade=round(shade, 2),
        tone=tone if tone == "better" else "",
    )


def _claim_row(claim: ClaimResult) -> tuple[Cell, ...]:
    return (
        Cell(claim.text, (f"{claim.better} − {claim.than}",)),
        Cell(claim.verdict, (claim.reason,) if claim.reason else ()),
        _points(claim.difference),
        formatting.interval_cell(claim.interval),
        formatting.interval_cell(claim.adjusted_interval),
        Cell(formatting.p_value(claim.p), numbers={"": claim.p}),
        Cell(formatting.p_value(claim.adjusted_p), numbers={"": claim.adjusted_p}),
        Cell(claim.printed_p or formatting.ABSENT),
        formatting.share(claim.margin),
        formatting.share(claim.detectable),
        Cell(str(claim.num_patients or formatting.ABSENT), numbers={"": claim.num_patients}),
    )


def _points(value: Number) -> Cell:
    text = formatting.ABSENT if value is None else f"{100 * value:+.1f}"
    return Cell(text, numbers={"": formatting.percent(value)})


def _forest_row(arm: ArmResult, metric: str | None) -> ForestRow | None:
    mean = arm.mean.get(metric or "")
    if mean is None or metric is None:
        return None
    low, high = arm.interval.get(metric, (None, None))
    published, _ = arm.published.get(metric, (None, None))
    paper = "" if published is None else f"; paper {100 * published:.1f}"
    return ForestRow(
        name=metric_names.short_name(arm.name, arm.label),
        value=100 * mean,
        low=formatting.percent(low),
        high=formatting.percent(high),
        published=formatting.percent(published),
        text=f"{100 * mean:.1f} {formatting.limits((low, high))}{paper}",
        is_baseline=arm.baseline,
    )
