"""All measures of an external test from the prediction tables of a run and of its evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from zlib import crc32

import numpy as np

from lus_ray.data.labels import LABELS, label_name
from lus_ray.evaluation import report_json, results, scored_arms
from lus_ray.evaluation.external import (
    calibrated,
    decisions,
    prediction_sets,
    shifts,
    subgroups,
    validation,
)
from lus_ray.evaluation.external.estimates import Cells, Resampling, cells_of, resample
from lus_ray.evaluation.external.schema import (
    ArmCalibration,
    ArmSets,
    ArmSubgroups,
    DecisionCurve,
    ExternalResults,
)
from lus_ray.evaluation.external.subgroups import Facts
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import RunRecord

NUM_DRAWS = report_json.NUM_DRAWS
NUM_METRICS = 2
"""Metrics of a subgroup."""


@dataclass(frozen=True)
class Side:
    """The test clips of a run, or those of its evaluation, with their scored arms."""

    run: RunResults
    arms: Mapping[str, ScoredArm]
    num_draws: int
    stream: int

    @cached_property
    def facts(self) -> Facts:
        return subgroups.read_facts(RunFolder(self.run.out))

    def keep(self, names: Iterable[str]) -> "Side":
        """Only these arms."""
        return replace(self, arms={name: self.arms[name] for name in names if name in self.arms})

    def arms_of(self, label: str) -> list[ScoredArm]:
        return [arm for arm in self.arms.values() if arm.label == label]

    def resample(self, label: str) -> Resampling:
        return resample(self.arms_of(label), num_draws=self.num_draws, rng=self.rng(label))

    def rng(self, label: str) -> np.random.Generator:
        """Independent of the other side, and of the draws of the report."""
        seed = self.run.record.seed or 0
        return np.random.default_rng([seed, crc32(label.encode()), self.stream])

    def leading_metrics(self, label: str) -> list[str]:
        """The first metrics of the study that arms of a label have."""
        known = {m for arm in self.arms_of(label) for s in arm.scores.values() for m in s.values}
        first = scored_arms.first_metric(self.arms_of(label), self.metrics)
        return list(dict.fromkeys([first, *(m for m in self.metrics if m in known)]))[:NUM_METRICS]

    @property
    def metrics(self) -> Sequence[str]:
        return self.run.record.metrics or ("auc", "accuracy")


def measure(run: Path, evaluation: Path, *, num_draws: int = NUM_DRAWS) -> ExternalResults:
    """The test split of a run beside the clips of its evaluation folder.

    Raises:
        StoreError, FoldError: as `lus_ray.evaluation.results.read`.
    """
    internal = read_side(run, num_draws=num_draws, stream=1)
    external = read_side(evaluation, num_draws=num_draws, stream=2)
    internal = internal.keep(name for name, arm in external.arms.items() if arm.cells)
    labels = list(dict.fromkeys(arm.label for arm in internal.arms.values() if arm.label))
    main = {
        label: report_json.choose_main(internal.arms_of(label), internal.run, internal.metrics)
        for label in labels
    }
    measured = [_measure_label(label, main[label], internal, external) for label in labels]
    shifted = tuple(
        shifts.measure_shift(
            arm,
            external.arms[name],
            internal.metrics,
            external.rng(name),
            leak=", ".join(internal.run.leaks.get(name, ())),
        )
        for name, arm in internal.arms.items()
        if arm.label
    )
    return ExternalResults(
        num_draws=num_draws,
        metrics={
            label: shifts.first_shared_metric(shifted, label) or internal.leading_metrics(label)[0]
            for label in labels
        },
        main=main,
        shifts=shifted,
        calibration=tuple(own for part in measured for own in part.calibration),
        sets=tuple(own for part in measured for own in part.sets),
        subgroups=tuple(
            own for label in labels for own in measure_subgroups(external, label, main[label])
        ),
        decisions=tuple(own for part in measured for own in part.decisions),
        notes=tuple(_describe_classes(internal, external, labels)),
    )


def read_side(out: Path, *, num_draws: int, stream: int = 1) -> Side:
    """A run or evaluation with its scored arms; `stream` keeps the draws of two sides apart."""
    run = results.read(out)
    return Side(run, report_json.score_all(run, num_draws=num_draws), num_draws, stream)


def subgroups_of_run(
    run: Path, names: Mapping[str, Sequence[str]], *, num_draws: int = NUM_DRAWS
) -> tuple[ArmSubgroups, ...]:
    """Metrics of the test patients of a run by group, of the named arms of each label."""
    found, wanted = results.read(run), {name for arms in names.values() for name in arms}
    found = replace(found, cells={key: c for key, c in found.cells.items() if key[0] in wanted})
    side = Side(found, report_json.score_all(found, num_draws=num_draws), num_draws, stream=1)
    return tuple(own for label in names for own in measure_subgroups(side, label, names[label]))


def measure_subgroups(side: Side, label: str, names: Sequence[str]) -> tuple[ArmSubgroups, ...]:
    """Metrics of the test clips of these arms by sex, age, probe, site, device and more."""
    sampling, metrics = side.resample(label), side.leading_metrics(label)
    return tuple(
        subgroups.measure_subgroups(
            name,
            label,
            cells=cells,
            sampling=sampling,
            facts=side.facts,
            metrics=metrics,
            roles=tuple(side.run.record.domains),
        )
        for name in names
        if (cells := _cells(side, name))
    )


@dataclass(frozen=True)
class LabelMeasures:
    calibration: tuple[ArmCalibration, ...]
    sets: tuple[ArmSets, ...]
    decisions: tuple[DecisionCurve, ...]


def _measure_label(
    label: str, main: Sequence[str], internal: Side, external: Side
) -> LabelMeasures:
    samplings = (internal.resample(label), external.resample(label))
    calibration, sets = [], []
    for arm in internal.arms_of(label):
        first, second = _cells(internal, arm.name), _cells(external, arm.name)
        known = validation.read_validation(internal.run, arm.name)
        if _has_masks(first) or not (first or second):
            continue
        reason = validation.explain_unfit(internal.run, arm.name)
        sides = {"internal": (first, samplings[0]), "external": (second, samplings[1])}
        calibration.append(
            calibrated.calibrate(arm.name, label, **sides, known=known, reason=reason)
        )
        if prediction_sets.has_one_class(first) and prediction_sets.has_one_class(second):
            sets.append(
                prediction_sets.predict_sets(arm.name, label, **sides, known=known, reason=reason)
            )
    cells = {name: own for name in main if (own := _cells(external, name))}
    curves: tuple[DecisionCurve, ...] = ()
    if all(prediction_sets.has_one_class(own) for own in cells.values()):
        ordered = _is_ordered(internal.run.record, label)
        curves = tuple(decisions.draw_decisions(label, cells, samplings[1], ordered=ordered))
    return LabelMeasures(tuple(calibration), tuple(sets), curves)


def _cells(side: Side, name: str) -> Cells:
    return cells_of(side.arms[name]) if name in side.arms else {}


def _is_ordered(record: RunRecord, label: str) -> bool:
    own = record.label if record.label and record.label.name == label else LABELS.get(label)
    return own is not None and own.ordered


def _has_masks(cells: Cells) -> bool:
    return any(cell.scheme for by_seed in cells.values() for cell in by_seed.values())


def _describe_classes(internal: Side, external: Side, labels: Sequence[str]) -> list[str]:
    notes = []
    for label in labels:
        arm = next(iter(internal.arms_of(label)))
        if names := shifts.describe_classes(arm, external.arms[arm.name]):
            notes.append(
                f"No external clip is annotated with {label_name(label)} {', '.join(names)}: "
                "averages over classes cover fewer classes than on internal clips."
            )
    return notes
