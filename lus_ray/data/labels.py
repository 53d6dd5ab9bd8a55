"""Labels that a clip is classified by: their columns, their classes, and class balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from lus_ray.clip import DISEASES, NUM_SEVERITIES, SCHEMA, SF_BINS, sf_class
from lus_ray.errors import ArmError, SchemaError


@dataclass(frozen=True)
class Label:
    """A label with its classes; `ordered` where they are grades from least to most."""

    name: str
    classes: tuple[str, ...]
    ordered: bool = False


SEVERITY = Label("severity", tuple(str(grade) for grade in range(NUM_SEVERITIES)), ordered=True)
SF_RATIO = Label("sf_ratio", SF_BINS, ordered=True)
DISEASE = Label("disease", DISEASES)
DIAGNOSIS = Label("diagnosis", ("healthy", "other lung disease", "COVID-19 pneumonia"))
"""The disease in three classes, for stores without the etiology of pneumonias."""

PNEUMONIA_DIAGNOSIS = Label("diagnosis", ("healthy", "pneumonia", "COVID-19 pneumonia"))
"""The classes of Gare 2021, for stores with the etiology of any; see `class_index`."""

LABELS = {label.name: label for label in (SEVERITY, SF_RATIO, DISEASE, DIAGNOSIS)}
"""Built-in labels by name. All but the diagnosis are columns of the clip table."""

RESERVED = frozenset((
    *LABELS, *SCHEMA.names, "fold", "split", "target", "probability", "outputs", "features",
    "counts", "bins", "shard", "row_group", "row", "num_frames", "images", "copy", "target_frames",
    "tracks", "lengths",
))  # fmt: skip
"""Names that a label of one's own cannot have: columns and keys of tables and batches."""

CLASSES = {name: label.classes for name, label in LABELS.items()}

NAMES = {
    "sf_ratio": "S/F ratio", "markers masks": "marker masks", "bline masks": "B-line masks",
}  # fmt: skip
"""Names of labels that are not the label itself."""

COLUMN = {"diagnosis": "disease"}
"""The column of a label that is not a column itself."""


def label_name(label: str) -> str:
    """A label as people read it, in the middle of a sentence."""
    return NAMES.get(label) or label.replace("_", " ")


def label_title(label: str) -> str:
    """The same at the start of a sentence."""
    name = label_name(label)
    return name[:1].upper() + name[1:]


def classes_of(label: str, own: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes of a label: `own`, or those that are built in.

    Raises:
        ArmError: there are neither, or only one class.
    """
    classes = tuple(own) or CLASSES.get(label, ())
    if not classes:
        raise ArmError(f"label {label!r} has no classes; give them, or use one of {(*CLASSES,)}")
    if len(classes) < 2:
        raise ArmError(f"label {label!r} has one class, {classes[0]!r}; two are needed")
    return classes


def class_index(label: str, row: Mapping[str, Any], classes: Sequence[str] = ()) -> int | None:
    """The class of a clip row, or None where the label is not annotated.

    A label that is not built in is an entry of `row["labels"]`, and `classes` are its classes.
    Diagnosis: every lung disease but COVID-19 is the middle class "other lung disease"; where
    `classes` has "pneumonia" instead, only a disease with an etiology is, and others have none.

    Raises:
        SchemaError: the class of a label that is not built in is not among `classes`.
    """
    if label not in LABELS:
        return _own_class(label, row, classes)
    value = row[COLUMN.get(label, label)]
    if value is None:
        return None
    if label == "diagnosis":
        return _diagnose(row, only_pneumonia="pneumonia" in classes)
    if label == "sf_ratio":
        return sf_class(value)
    if label == "disease":
        return DISEASES.index(value)
    return int(value)


def _diagnose(row: Mapping[str, Any], *, only_pneumonia: bool) -> int | None:
    if row["disease"] in ("healthy", "COVID-19 pneumonia"):
        return 0 if row["disease"] == "healthy" else 2
    if row["disease"] == "other non-lung disease" or (only_pneumonia and row["etiology"] is None):
        return None
    return 1


def _own_class(label: str, row: Mapping[str, Any], classes: Sequence[str]) -> int | None:
    value = (row["labels"] or {}).get(label)
    if value is not None and value not in classes:
        raise SchemaError(
            f"clip {row['clip']!r}: label {label!r} is {value!r}; its classes are "
            f"{', '.join(classes) or 'not known'}"
        )
    return None if value is None else classes.index(value)


def oversample(target: Int[np.ndarray, "N"], rng: np.random.Generator) -> Int[np.ndarray, "M"]:
    """Indices that repeat every class up to the size of the largest.

    Each example comes equally often, but for a random remainder.
    """
    classes, counts = np.unique(target, return_counts=True)
    chosen = []
    for name in classes:
        members = np.flatnonzero(target == name)
        whole, rest = divmod(int(counts.max()), len(members))
        chosen += [np.tile(members, whole), rng.choice(members, rest, replace=False)]
    return np.concatenate(chosen)
