"""Which arms the labels of a store can train; weak labels, where the user asks for them.

Weak supervision is never a default. The record of the run and the report mention it.
"""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.clip import SCHEMA, to_rows
from lus_ray.data import masks, store
from lus_ray.data.labels import COLUMN
from lus_ray.errors import SchemaError
from lus_ray.experiment import Arm, Experiment
from lus_ray.storage.paths import PathOrUri

NOTHING_TO_LEARN = "has nothing to learn from"


def select_arms(
    experiment: Experiment, index: pa.Table
) -> tuple[Experiment, dict[str, tuple[str, ...]]]:
    """The experiment without the arms that no clip can train, and those arms by reason.

    Raises SchemaError where no arm with a label is left.
    """
    missing: dict[str, str] = {}
    for arm in experiment.arms:
        if arm.label is not None and not _has_label(arm.label, index):
            missing[arm.name] = f"no clip has {arm.label}"
        elif arm.rows.overlap and arm.rows.train_without and not _has_clips_without(arm, index):
            missing[arm.name] = f"every clip with {arm.label} has {arm.rows.train_without}"
    if not any(arm.label for arm in experiment.without(set(missing)).arms):
        lacks_scores = "frame_severity" in {arm.label for arm in experiment.arms}
        is_weak = lacks_scores and can_be_weak(index)
        hint = "; --weak gives every frame the score of its clip" if is_weak else ""
        raise SchemaError(nothing_to_learn(experiment, missing) + hint)
    return leave_out(experiment, missing)


def leave_out(
    experiment: Experiment, missing: Mapping[str, str]
) -> tuple[Experiment, dict[str, tuple[str, ...]]]:
    """The experiment without these arms and those that need them, and all of them by reason.

    `missing` has the reason by arm. Raises SchemaError where no arm with a label is left.
    """
    kept = experiment.without(set(missing))
    if not any(arm.label for arm in kept.arms):
        raise SchemaError(nothing_to_learn(experiment, missing))
    names, reason_of = {arm.name for arm in kept.arms}, dict(missing)
    skipped: dict[str, tuple[str, ...]] = {}
    for arm in experiment.arms:
        if arm.name not in names:  # for its own reason, or for that of an arm that it needs
            reasons = (reason_of.get(name) for name in (arm.name, *arm.inputs))
            reason = reason_of[arm.name] = next(filter(None, reasons), "")
            skipped[reason] = (*skipped.get(reason, ()), arm.name)
    return kept, skipped


def nothing_to_learn(experiment: Experiment, missing: Mapping[str, str]) -> str:
    why = "; ".join(dict.fromkeys(missing.values()))
    return f"{experiment.name} {NOTHING_TO_LEARN}: {why}"


def apply_weak_labels(index: pa.Table, data: PathOrUri) -> pa.Table:
    """The index in which frames without a score carry that of their clip, SchemaError if none."""
    if not can_be_weak(index):
        raise SchemaError(
            "--weak gives frames the score of their clip; no clip here has a score and frames "
            "without one"
        )
    lengths = store.count_frames_by_clip(data)
    column = [
        [grade] * lengths[clip] if own is None and grade is not None else own
        for clip, grade, own in zip(
            *(index[name].to_pylist() for name in ("clip", "severity", "frame_severity")),
            strict=True,
        )
    ]
    field = SCHEMA.field("frame_severity")
    position = index.column_names.index(field.name)
    return index.set_column(position, field, pa.array(column, field.type))


def _has_label(label: str, index: pa.Table) -> bool:
    if not label.endswith(" masks"):
        column = COLUMN.get(label, label)
        if column in index.column_names:
            return index[column].null_count < index.num_rows
        return any(label in (row["labels"] or {}) for row in to_rows(index.select(["labels"])))
    scheme = label.removesuffix(" masks")
    return any(
        given == scheme or (given, scheme) in masks.DERIVED
        for given in set(index["mask_scheme"].to_pylist())
    )


def _has_clips_without(arm: Arm, index: pa.Table) -> bool:
    label, excluded = index[arm.label], index[arm.rows.train_without]
    return bool(pc.any(pc.and_(label.is_valid(), excluded.is_null())).as_py())


def can_be_weak(index: pa.Table) -> bool:
    """Whether a clip has a score and frames without one."""
    own, clip = index["frame_severity"], index["severity"]
    return bool(pc.any(pc.and_(own.is_null(), clip.is_valid())).as_py())
