"""The external clips of an evaluation: the leak gate, domains and labels of the study."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lus_ray.clip import Row, to_rows
from lus_ray.data.duplicates.overlap import LeftOut
from lus_ray.data.labels import label_name
from lus_ray.errors import InputError
from lus_ray.external_validation.leak_gate import KnownClips
from lus_ray.runs import cell_rows, cohort, supervision
from lus_ray.runs.manifest import ArmRecord, RunRecord
from lus_ray.runs.selection import LOCATION
from lus_ray.runs.trainable import targets_of
from lus_ray.storage.paths import PathOrUri
from lus_ray.suggestions import did_you_mean, find_close

MAX_NAMED = 3
"""Patients that a refusal names."""


@dataclass(frozen=True)
class ExternalClips:
    """The clips that are kept, the patients that are not, and the arms that can be scored on them.

    `domains` are the roles of the study that have clips. `num_clips` and `num_patients` count
    before the leak gate.
    """

    index: pa.Table
    rows: list[Row]
    arms: tuple[ArmRecord, ...]
    domains: dict[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    num_clips: int
    num_patients: int


def select(
    record: RunRecord,
    data: PathOrUri,
    index: pa.Table,
    *,
    known: KnownClips,
    where: Mapping[str, str],
    arms: Sequence[ArmRecord],
    classes: Mapping[str, Sequence[str]],
) -> ExternalClips:
    """The clips of a store that a run never saw, and those of `arms` that they can score.

    `index` is that of the store, `classes` are those that the models of a label know.

    Raises:
        InputError: no clip is left, or none has a label that an arm predicts.
    """
    index = _filter(index, where, data)
    num_clips, num_patients = index.num_rows, len(set(index["patient"].to_pylist()))
    left_out = known.find_in(index)
    names = {own.patient for own in left_out}
    index = index.filter(pa.array([p not in names for p in index["patient"].to_pylist()]))
    if not index.num_rows:
        raise InputError(_describe_overlap(data, left_out))
    notes: list[str] = []
    if record.supervision == "weak" and supervision.can_be_weak(index):
        index = supervision.apply_weak_labels(index, data)
        notes.append("as in the run, frames without a score carry the score of their clip")
    index, domains, about_domains = _assign_domains(record, index)
    notes += about_domains
    if record.frames_with:
        index, skipped = cohort.select_frames(record.experiment, record.frames_with, index, data)
        notes += skipped
    rows = to_rows(index.drop_columns(list(LOCATION)))
    rows, about_classes = _drop_unknown_classes(rows, classes)
    scored, about_labels = _select_arms(record, rows, arms, classes, data)
    notes += [*about_classes, *about_labels]
    return ExternalClips(
        index, rows, scored, domains, left_out, tuple(notes), num_clips, num_patients
    )


def _filter(index: pa.Table, where: Mapping[str, str], data: PathOrUri) -> pa.Table:
    for column, value in where.items():
        values = index[column].to_pylist() if column in index.column_names else None
        if values is None or any(isinstance(own, list | bytes) for own in values):
            hint = did_you_mean(find_close(column, index.column_names))
            raise InputError(
                f"--where {column}={value}: clips have no such column of single values{hint}"
            )
        index = index.filter(pa.array([str(own) == value for own in values]))
        if not index.num_rows:
            known = ", ".join(sorted({str(own) for own in values if own is not None})[:10])
            raise InputError(
                f"--where {column}={value}: no clip of {data}; it has {known or 'none'}"
            )
    return index


def _describe_overlap(data: PathOrUri, left_out: Sequence[LeftOut]) -> str:
    few = "; ".join(f"{own.patient}: {own.reason}" for own in left_out[:MAX_NAMED])
    more = f"; and {len(left_out) - MAX_NAMED} more" if len(left_out) > MAX_NAMED else ""
    return (
        f"{data}: every patient is one of the run ({few}{more}); give clips of other patients; "
        "if only names agree and these are other people, ingest them under other names"
    )


def _assign_domains(
    record: RunRecord, index: pa.Table
) -> tuple[pa.Table, dict[str, tuple[str, ...]], list[str]]:
    """The index with the study's roles as domains, the roles that have clips, and notes."""
    if not record.domains:
        return index, {}, []
    role_of = {name: role for role, names in record.domains.items() for name in (*names, role)}
    own = [role_of.get(name, name) for name in index["domain"].to_pylist()]
    number = Counter(own)
    present = {role: names for role, names in record.domains.items() if number[role]}
    notes = [
        f"the study compares domains; no clip here is of {role!r} (known as {', '.join(names)})"
        for role, names in record.domains.items()
        if role not in present
    ]
    others = sum(count for name, count in number.items() if name not in record.domains)
    if others:
        notes.append(f"{others} clips of other domains are tested, but in no domain of the study")
    field = index.schema.field("domain")
    place = index.column_names.index("domain")
    return index.set_column(place, field, pa.array(own, field.type)), present, notes


def _drop_unknown_classes(
    rows: Sequence[Row], classes: Mapping[str, Sequence[str]]
) -> tuple[list[Row], list[str]]:
    """The rows without labels of one's own that the models cannot know, and notes on these."""
    unknown: Counter[tuple[str, str]] = Counter()
    kept = []
    for row in rows:
        own = row["labels"] or {}
        wrong = {name for name in own.keys() & classes.keys() if own[name] not in classes[name]}
        unknown.update((name, own[name]) for name in wrong)
        labels = {name: text for name, text in own.items() if name not in wrong}
        kept.append({**row, "labels": labels or None})
    notes = [
        f"{number} clips with {label_name(label)} {text!r} are not scored on it: the models know "
        f"{', '.join(classes[label])}"
        for (label, text), number in sorted(unknown.items())
    ]
    return kept, notes


def _select_arms(
    record: RunRecord,
    rows: Sequence[Row],
    arms: Sequence[ArmRecord],
    classes: Mapping[str, Sequence[str]],
    data: PathOrUri,
) -> tuple[tuple[ArmRecord, ...], list[str]]:
    """The arms with an annotated label, in the order of the run, and notes on the others."""
    labels = dict.fromkeys(arm.label for arm in arms if arm.label)
    number = {
        label: sum(bool(targets_of(label, row, classes.get(label, ()))) for row in rows)
        for label in labels
    }
    notes = []
    for label in (label for label in labels if not number[label]):
        count = sum(arm.label == label for arm in arms)
        notes.append(
            f"no clip has {label_name(label)}: {count} arm{'s' * (count != 1)} cannot be scored"
        )
    kept = []
    for arm in arms:
        if not number.get(arm.label or "", 0):
            continue
        if any(cell_rows.is_wanted(arm, row) for row in rows):
            kept.append(arm)
        else:
            notes.append(f"arm {arm.name!r}: no clip has {_describe_rows(arm)}")
    if not kept:
        known = ", ".join(map(label_name, labels)) or "nothing"
        raise InputError(
            f"{data}: no clip has a label that {record.experiment} predicts ({known}); label the "
            "clips, or predict them with 'lus predict'"
        )
    return tuple(kept), notes


def _describe_rows(arm: ArmRecord) -> str:
    wanted: list[Any] = [*arm.rows.needs, *(f"{k} {v!r}" for k, v in arm.rows.where.items())]
    return " and ".join(map(str, wanted))
