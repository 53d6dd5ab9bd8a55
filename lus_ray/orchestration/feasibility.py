"""What every study can run on a store, what the others lack, and the patients of its folds."""

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from lus_ray.clip import Row
from lus_ray.data import store
from lus_ray.data.labels import label_name
from lus_ray.errors import InputError
from lus_ray.experiment import Experiment
from lus_ray.folds import SPLITS, Fold
from lus_ray.orchestration import run_options, studies
from lus_ray.orchestration.target_label import find_labels
from lus_ray.runs import selection, supervision, trainable
from lus_ray.storage.paths import PathOrUri

ANNOTATED = "annotated"
"""Stands for the classes of biomarkers and masks."""
MAX_NAMES = 3
WIDTH = 100

Range = tuple[int, int]
"""The least and the greatest number of patients over the folds."""


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """What one study, with one label where it takes any, can run at its full size.

    `reason` says why it cannot run. `skipped` are arms by reason. `patients` are those of each
    split by label and class.
    """

    study: str
    label: str | None = None
    reason: str = ""
    num_arms: int = 0
    num_folds: int = 0
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    patients: Mapping[str, Mapping[str, Mapping[str, Range]]] = field(default_factory=dict)


def check_studies(data: PathOrUri) -> tuple[Feasibility, ...]:
    """Every study of `experiments/`, once for each label where it takes any.

    Raises:
        StoreError: the store cannot be read.
    """
    index = store.read_index(data)
    labels = find_labels(data, index)
    found = []
    for name in studies.list_studies():
        experiment = run_options.find_experiment(name)
        if experiment.target is None:
            found.append(_check(experiment, index, data))
        else:
            studies_of_label = (run_options.find_experiment(name, own) for own in labels.values())
            found += [_check(study, index, data) for study in studies_of_label]
            if not labels:
                found.append(Feasibility(study=name, reason="no label has two classes"))
    return tuple(found)


def to_json(found: Iterable[Feasibility]) -> list[dict[str, Any]]:
    return [asdict(study) for study in found]


def to_text(found: Sequence[Feasibility], data: PathOrUri) -> str:
    """A block for each study that can run, then a line for each of the others."""
    blocks = ["studies and arms that can run, and the patients of their folds"]
    blocks += ["\n".join(_block(study, data)) for study in found if not study.reason]
    others = [
        textwrap.fill(f"{study.study}: {study.reason}", WIDTH, subsequent_indent="    ")
        for study in found
        if study.reason
    ]
    if others:
        blocks.append("\n".join(["studies that cannot run", *(f"  {line}" for line in others)]))
    return "\n\n".join(blocks)


def _check(experiment: Experiment, index: pa.Table, data: PathOrUri) -> Feasibility:
    target = experiment.target.name if experiment.target else None
    try:
        chosen = selection.select(experiment, index, data)
    except InputError as error:
        reason = str(error).removeprefix(f"{experiment.name}: ")
        reason = reason.removeprefix(f"{experiment.name} {supervision.NOTHING_TO_LEARN}: ")
        return Feasibility(study=experiment.name, label=target, reason=reason)
    return Feasibility(
        study=experiment.name,
        label=target,
        num_arms=len(chosen.experiment.arms),
        num_folds=len(chosen.folds),
        skipped=chosen.left_out,
        notes=chosen.notes,
        patients=_count_patients(chosen.experiment, chosen.rows, chosen.folds),
    )


def _count_patients(
    experiment: Experiment, rows: Sequence[Row], folds: Sequence[Fold]
) -> dict[str, dict[str, dict[str, Range]]]:
    """Patients by label, class and split, over the folds; classes that no clip has are missing."""
    classes_of: dict[str, Sequence[str]] = {}
    for arm in experiment.arms:
        if arm.label is not None:
            classes_of[arm.label] = classes_of.get(arm.label) or trainable.bound_classes(arm)
    counted: dict[str, dict[str, dict[str, Range]]] = {}
    for label, own in classes_of.items():
        names = trainable.class_names(label, own) or (ANNOTATED,)
        patients_of: dict[str, set[str]] = {name: set() for name in names}
        for row in rows:
            for number in trainable.targets_of(label, row, own):
                patients_of[names[number]].add(row["patient"])
        counted[label] = {
            name: {split: _range(patients, folds, split) for split in SPLITS}
            for name, patients in patients_of.items()
            if patients
        }
    return counted


def _range(patients: set[str], folds: Sequence[Fold], split: str) -> Range:
    numbers = [len(patients.intersection(getattr(fold, split))) for fold in folds]
    return min(numbers), max(numbers)


def _block(study: Feasibility, data: PathOrUri) -> Iterator[str]:
    label = f" --label {shlex.quote(study.label)}" if study.label else ""
    num_skipped = sum(map(len, study.skipped.values()))
    arms = f"{study.num_arms} of {study.num_arms + num_skipped} arms"
    arms = arms if num_skipped else f"all {study.num_arms} arms"
    command = f"lus run {study.study} --data {shlex.quote(str(data))}{label}"
    yield f"{command}: {arms}, {study.num_folds} folds"
    for label, classes in study.patients.items():
        yield f"  {f'patients by {label_name(label)}':34} train      val     test"
        for name, by_split in classes.items():
            yield f"    {name:30}" + "".join(f"{_text(*by_split[s]):>9}" for s in SPLITS).rstrip()
    for note in study.notes:
        yield f"  note: {note}"
    for reason, names in study.skipped.items():
        few = "; ".join(names[:MAX_NAMES])
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        text = f"  skipped, as {reason}: {few}{more}"
        yield textwrap.fill(text, WIDTH, subsequent_indent="    ")


def _text(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
