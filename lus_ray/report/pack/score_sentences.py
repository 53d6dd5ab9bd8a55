"""Scores on other stores and of groups of patients, in sentences."""

from collections.abc import Container, Iterable

from lus_ray.evaluation.external.schema import ArmSubgroups, Estimate, SetScores
from lus_ray.report import formatting, metric_names
from lus_ray.report.pack.evaluations import Evaluation
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.wording import count

DEMOGRAPHIC = ("sex", "age")
"""Columns of which scores by group answer for fairness."""
PEOPLE, CLUSTERS = (*DEMOGRAPHIC, "bmi", "probe", "zone"), ("site", "device")
WORDS = {"bmi": "body mass index"}


def describe_scores(evaluation: Evaluation) -> Iterable[str]:
    """The main models on both sides, their groups, calibration and prediction sets."""
    measured = evaluation.measured
    if measured is None:
        yield f"“{evaluation.name}”: the scores are in its own report."
        return
    for shift in measured.shifts:
        metric = measured.metrics[shift.label]
        if shift.name in measured.main[shift.label] and metric in shift.metrics:
            own = shift.metrics[metric]
            name = metric_names.name(metric, shift.label)
            yield (
                f"“{evaluation.name}”, “{shift.name}”: {name} {percent(own.external)} on "
                f"{shift.num_external} external patients, {percent(own.internal)} on "
                f"{shift.num_internal} test patients of the run; difference "
                f"{percent(own.difference, sign='+')}."
            )


def describe_groups(facts: RunFacts, columns: Iterable[str]) -> Iterable[str]:
    """The best model of each label by group, here and on other stores."""
    names = {arm.name for arm in facts.groups}
    yield from _describe_arms(facts.groups, "Test patients of the run", columns)
    for own in facts.evaluations:
        if own.measured:
            arms = [arm for arm in own.measured.subgroups if arm.name in names]
            yield from _describe_arms(arms, f"“{own.name}”", columns)


def _describe_arms(
    arms: Iterable[ArmSubgroups], where: str, columns: Iterable[str]
) -> Iterable[str]:
    for arm in arms:
        metric = metric_names.name(arm.metrics[0], arm.label)
        for column in arm.columns:
            if column.column not in columns or len(column.groups) < 2:
                continue
            parts = [
                f"{own.group} {percent(value)} ({count(own.num_patients, 'patient')})"
                for own in column.groups
                if (value := own.metrics.get(arm.metrics[0]))
            ]
            gap = column.gap
            ends = (
                f"; gap between {gap.best} and {gap.worst} {percent(gap.difference, sign='+')}"
                if gap else "; too few patients to compare the groups"
            )  # fmt: skip
            name = WORDS.get(column.column, column.column)
            yield f"{where}, “{arm.name}” by {name}, {metric}: {', '.join(parts)}{ends}."


def describe_updates(evaluation: Evaluation, names: Container[str]) -> Iterable[str]:
    """Calibration of these models before and after temperature scaling."""
    if (measured := evaluation.measured) is None:
        return
    for own in measured.calibration:
        if own.name not in names or own.external is None:
            continue
        before = own.external.before.calibration_error
        after = own.external.after
        scaled = (
            f"{percent(after.calibration_error)} after" if after else own.reason or "not fitted"
        )
        yield (
            f"“{evaluation.name}”, “{own.name}”: calibration error {percent(before)} before "
            f"temperature scaling, {scaled}."
        )


def describe_sets(evaluation: Evaluation, names: Container[str]) -> Iterable[str]:
    """Prediction sets of these models on the other store."""
    if (measured := evaluation.measured) is None:
        return
    for own in measured.sets:
        if own.name in names:
            parts = [_coverage(scores) for scores in own.external]
            if parts:
                yield f"“{evaluation.name}”, “{own.name}”: prediction sets {'; '.join(parts)}."


def has_compared(groups: Iterable[ArmSubgroups], columns: Iterable[str]) -> bool:
    """Whether groups by each of these columns had enough patients to be compared."""
    compared = {own.column for arm in groups for own in arm.columns if own.gap}
    return compared.issuperset(columns)


def percent(estimate: Estimate, *, sign: str = "") -> str:
    """`71.2 % [60.1, 80.3]`, or points with a sign."""
    if estimate.value is None:
        return "undefined"
    unit = " points" if sign else " %"
    return f"{100 * estimate.value:{sign}.1f}{unit} " + (
        formatting.limits(estimate.interval, sign=sign) or "(no interval)"
    )


def _coverage(scores: SetScores) -> str:
    return f"of nominal {100 * scores.level:g} % cover {percent(scores.coverage)}"
