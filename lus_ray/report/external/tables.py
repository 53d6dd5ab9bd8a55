"""Sections on an external test: metrics beside internal ones, calibration, sets, subgroups, use."""

import math
from collections.abc import Iterable, Sequence

from lus_ray.data.labels import label_name, label_title
from lus_ray.evaluation.external.schema import (
    ArmCalibration,
    ArmSets,
    Estimate,
    ExternalResults,
    SetScores,
)
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.metrics.conformal import LEVELS
from lus_ray.report import formatting, metric_names, subgroup_tables
from lus_ray.report.blocks import Block, Cell, Details, Paragraph, Section, Table, texts
from lus_ray.report.conclusions import count
from lus_ray.report.estimate_cells import estimate_cell, plain_cell
from lus_ray.report.external import figures, shifts

CALIBRATION = (
    "External clips. One temperature per model, fitted on the validation clips of the run, divides "
    "its logits; the predicted class stays. Above 1: the model was too confident. Log loss (nats) "
    "and Brier score: lower is better. The calibration error is never below 0 and grows where "
    "predictions are few. No external clip was used to fit anything."
)
SETS = (
    "A set holds the classes that are probable enough, by a limit from the validation patients of "
    "the run. Guaranteed: the set of a random clip of a new patient from the same population holds "
    "its class with the nominal probability or more, on average over patients. The validation "
    "clips also chose the epoch, which may cost some coverage. Not guaranteed: coverage in each "
    "class or subgroup, and for other hospitals; external coverage shows what is left of it. "
    "Intervals cover the choice of test patients; the choice of {number} validation patients moves "
    "coverage by about ± {scatter:.0f} points as well."
)
SETS_OF_FEW = (
    "Sets of {level:.0f} % need at least {least} validation patients. A model has only {number}, "
    "so that its sets hold every class."
)
DECISION = (
    "External clips. Net benefit: hits minus false alarms per clip, each false alarm weighed by "
    "the odds of the probability that leads to action. A model is of use where its line is above "
    "both grey lines: acting on all clips, and on none (0). Bands: 95 % over patients at each "
    "threshold. Probabilities are those of the models, without temperature scaling. Whether an "
    "action is right for a patient is not part of it."
)
BENEFIT = "Net hits per 100 clips with 95 % intervals over patients."
TABLE_THRESHOLDS = (0.1, 0.2, 0.3, 0.5)


def sections(results: ExternalResults, labels: Sequence[str] | None = None) -> tuple[Section, ...]:
    """The sections of an external test, without those that nothing is measured for.

    `labels` in the order in which the report shows them; that of the run by default.
    """
    shown = [label for label in labels or results.labels if label in results.main]
    every = (
        Section(
            "Internal and external", "external", tuple(shifts.blocks(results, shown)), is_brief=True
        ),
        Section("Calibration", "calibration", tuple(_calibration(results, shown))),
        Section("Prediction sets", "sets", tuple(_sets(results, shown))),
        Section("Subgroups", "subgroups", tuple(subgroup_tables.blocks(results, shown))),
        Section("Decision curve", "decisions", tuple(_decisions(results, shown))),
    )
    return tuple(section for section in every if section.blocks)


def _calibration(results: ExternalResults, labels: Sequence[str]) -> Iterable[Block]:
    for label in labels:
        arms = [a for a in results.calibration if a.label == label and a.external is not None]
        main = [arm for arm in arms if arm.name in results.main[label]]
        if not main:
            continue
        yield _calibration_table(f"calibration {label}", main, label)
        if curves := figures.draw_reliability(main):
            yield curves
        if len(arms) > len(main):
            rest = _calibration_table(f"calibration all {label}", arms, label)
            yield Details(f"All of {count(len(arms), 'arm')}, {label_name(label)}", (rest,))
    if any(arm.external for arm in results.calibration):
        yield Paragraph(CALIBRATION)


def _calibration_table(name: str, arms: Sequence[ArmCalibration], label: str) -> Table:
    return Table(
        name,
        label_title(label),
        (
            "Arm", "Temperature", "Calibration error, %", "after scaling", "Log loss",
            "after scaling", "Brier score", "after scaling",
        ),
        tuple(_calibration_row(arm, label) for arm in arms),
    )  # fmt: skip


def _calibration_row(arm: ArmCalibration, label: str) -> tuple[Cell, ...]:
    nothing = Cell(formatting.ABSENT)
    name = Cell(metric_names.short_name(arm.name, label), tuple(filter(None, [arm.reason])))
    if arm.external is None:
        return (name, *[nothing] * 7)
    before, after = arm.external.before, arm.external.after
    cells: list[Cell] = []
    for metric in ("calibration_error", "log_loss", "brier"):
        make = estimate_cell if metric == "calibration_error" else plain_cell
        cells += [make(getattr(own, metric)) if own else nothing for own in (before, after)]
    return (name, _temperature_cell(arm), *cells)


def _temperature_cell(arm: ArmCalibration) -> Cell:
    """The temperature, or the range over folds and seeds, with why some could not be fitted."""
    values = [own.value for own in arm.temperatures]
    if not values:
        return Cell(formatting.ABSENT)
    low, high = min(values), max(values)
    text = f"{low:.2f}" + (f" to {high:.2f}" if high - low >= 0.005 else "")
    reasons = dict.fromkeys(own.reason for own in arm.temperatures if own.reason)
    if arm.num_calibration < MIN_PATIENTS:
        reasons[f"from only {arm.num_calibration} patients"] = None
    return Cell(text, tuple(reasons), numbers={"": sum(values) / len(values)})


def _sets(results: ExternalResults, labels: Sequence[str]) -> Iterable[Block]:
    for label in labels:
        arms = [arm for arm in results.sets if arm.label == label and arm.external]
        main = [arm for arm in arms if arm.name in results.main[label]]
        if not main:
            continue
        yield _set_table(f"sets {label}", main, label, LEVELS[:1], brief=4)
        rest = _set_table(f"sets all {label}", arms, label, LEVELS)
        yield Details(f"All arms and levels, {label_name(label)}", (rest,))
    if shown := [arm.num_calibration for arm in results.sets if arm.external]:
        number, level = min(shown), LEVELS[0]
        scatter = 200 * (level * (1 - level) / (number + 2)) ** 0.5
        if number < (least := math.ceil(round(level / (1 - level), 6))):
            text = SETS_OF_FEW.format(level=100 * level, least=least, number=number)
            yield Paragraph(text, is_notice=True)
        yield Paragraph(SETS.format(number=number, scatter=scatter))


def _set_table(
    name: str, arms: Sequence[ArmSets], label: str, levels: Sequence[float], *, brief: int = 0
) -> Table:
    rows = tuple(_set_row(arm, label, level, brief=bool(brief)) for arm in arms for level in levels)
    title = f"{label_title(label)}, {arms[0].num_classes} classes"
    if brief:
        title += f", nominal coverage {100 * levels[0]:.0f} %"
    columns = (
        "Arm", "Coverage, internal", "Coverage, external", "Classes in a set", "One class, %",
        "No class, %",
    )  # fmt: skip
    return Table(name, title, columns, rows, brief=brief)


def _set_row(arm: ArmSets, label: str, level: float, *, brief: bool) -> tuple[Cell, ...]:
    internal = next((own for own in arm.internal if own.level == level), None)
    external = next(own for own in arm.external if own.level == level)
    name = metric_names.short_name(arm.name, label)
    return (
        Cell(name if brief else f"{name}: {100 * level:.0f} %"),
        estimate_cell(internal.coverage) if internal else Cell(formatting.ABSENT),
        _coverage_cell(external),
        plain_cell(external.size),
        estimate_cell(external.single),
        estimate_cell(external.empty),
    )


def _coverage_cell(own: SetScores) -> Cell:
    """Marked where the whole interval lies below the nominal coverage."""
    cell, high = estimate_cell(own.coverage), own.coverage.interval[1]
    is_short = high is not None and high < own.level
    return Cell(cell.text, numbers=cell.numbers, tone="worse" if is_short else "")


def _decisions(results: ExternalResults, labels: Sequence[str]) -> Iterable[Block]:
    for label in labels:
        curves = [own for own in results.decisions if own.label == label]
        if curves:
            yield figures.draw_decisions(label, curves)
            yield Details(
                f"Net benefit at {len(TABLE_THRESHOLDS)} thresholds, {label_name(label)}",
                (_benefit_table(results, label),),
            )
    if results.decisions:
        yield Paragraph(DECISION)


def _benefit_table(results: ExternalResults, label: str) -> Table:
    rows = []
    for curve in results.decisions:
        if curve.label != label:
            continue
        chosen = [curve.thresholds.index(threshold) for threshold in TABLE_THRESHOLDS]
        treat_all = [formatting.share(curve.treat_all[t]) for t in chosen]
        share = f"{curve.num_positive} of {curve.num_clips} clips"
        rows.append((Cell(f"{curve.question}: all", (share,)), *treat_all))
        for arm in curve.arms:
            cells = [
                estimate_cell(Estimate(value=arm.value[t], interval=(arm.low[t], arm.high[t])))
                for t in chosen
            ]
            name = metric_names.short_name(arm.name, label)
            rows.append((*texts(f"{curve.question}: {name}"), *cells))
    columns = ("Question and arm", *(f"At {100 * t:.0f} %" for t in TABLE_THRESHOLDS))
    return Table(f"decisions {label}", label_title(label), columns, tuple(rows), BENEFIT)
