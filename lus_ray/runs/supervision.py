"""What the clips of a store can teach: arms without a label to learn are left out, and said so.

Weak supervision is a choice of the user, never a default: `weak` lets every frame without a score
of its own carry the score of its clip, and the record and the report name it.
"""

import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.clip import SCHEMA
from lus_ray.data import masks, store
from lus_ray.data.labels import COLUMN
from lus_ray.errors import SchemaError
from lus_ray.experiment import Arm, Experiment
from lus_ray.storage.paths import PathOrUri


def fitting(
    experiment: Experiment, index: pa.Table
) -> tuple[Experiment, dict[str, tuple[str, ...]]]:
    """The experiment without arms that no clip can teach, and those arms by what is missing.

    Raises:
        SchemaError: no arm with a label is left.
    """
    missing: dict[str, str] = {}
    for arm in experiment.arms:
        if arm.label is not None and not _is_given(arm.label, index):
            missing[arm.name] = f"no clip has {arm.label}"
        elif arm.rows.overlap and not _has_clips_apart(arm, index):
            missing[arm.name] = f"every clip with {arm.label} has {arm.rows.train_without}"
    kept = experiment.without(set(missing))
    if not any(arm.label for arm in kept.arms):
        hint = "; --weak lets every frame carry its clip's score" if _could_be_weak(index) else ""
        why = "; ".join(dict.fromkeys(missing.values()))
        raise SchemaError(f"{experiment.name} has nothing to learn from: {why}{hint}")
    left = {arm.name for arm in kept.arms}
    reasons = {
        arm.name: missing.get(arm.name, "") for arm in experiment.arms if arm.name not in left
    }
    for arm in experiment.arms:  # what needs an arm that is left out is left out for its reason
        for name in arm.inputs:
            if arm.name in reasons and not reasons[arm.name] and name in reasons:
                reasons[arm.name] = reasons[name]
    left_out: dict[str, tuple[str, ...]] = {}
    for name, why in reasons.items():
        left_out[why] = (*left_out.get(why, ()), name)
    return kept, left_out


def supervised(index: pa.Table, data: PathOrUri, *, weak: bool) -> pa.Table:
    """The index as it is; where `weak`, frames without a score of their own carry their clip's.

    Raises:
        SchemaError: weak labels are asked for, and no clip has a score to give.
    """
    if not weak:
        return index
    if not _could_be_weak(index):
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
    return index.set_column(
        index.column_names.index(field.name), field, pa.array(column, field.type)
    )


def _is_given(label: str, index: pa.Table) -> bool:
    """Whether a clip has this label; masks are given where their scheme can be read so."""
    if not label.endswith(" masks"):
        return index[COLUMN.get(label, label)].null_count < index.num_rows
    scheme = label.removesuffix(" masks")
    return any(
        given == scheme or (given, scheme) in masks.DERIVED
        for given in set(index["mask_scheme"].to_pylist())
    )


def _has_clips_apart(arm: Arm, index: pa.Table) -> bool:
    """Whether a clip has what the arm learns and lacks the label that it trains without."""
    learned, kept = index[arm.label], index[arm.rows.train_without]
    return bool(pc.any(pc.and_(learned.is_valid(), kept.is_null())).as_py())


def _could_be_weak(index: pa.Table) -> bool:
    own, clip = index["frame_severity"], index["severity"]
    return bool(pc.any(pc.and_(own.is_null(), clip.is_valid())).as_py())
