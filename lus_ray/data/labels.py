"""Labels that a clip is classified by: their columns, their classes, and class balance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from lus_ray.clip import DISEASES, NUM_SEVERITIES, SF_BINS, sf_class

CLASSES: dict[str, tuple[str, ...]] = {
    "severity": tuple(str(grade) for grade in range(NUM_SEVERITIES)),
    "sf_ratio": SF_BINS,
    "disease": DISEASES,
    "diagnosis": ("healthy", "other lung disease", "COVID-19 pneumonia"),
}
"""Class names by label. A label is a column of the clip table, except for the diagnosis: three
classes derived from `disease` (Gare 2021 has normal, pneumonia and COVID-19; here every other lung
disease takes the place of pneumonia)."""

NAMES = {
    "sf_ratio": "S/F ratio", "markers masks": "marker masks", "bline masks": "B-line masks",
}  # fmt: skip
"""Names of labels that are not the label itself."""

COLUMN = {"diagnosis": "disease"}
"""The column of a label that is not a column itself."""

DIAGNOSIS = {"healthy": 0, "COVID-19 pneumonia": 2, "other non-lung disease": None}
"""Diagnosis of a disease; 1 where a disease is not listed."""


def label_name(label: str) -> str:
    """A label as people read it, in the middle of a sentence."""
    return NAMES.get(label) or label.replace("_", " ")


def label_title(label: str) -> str:
    """The same at the start of a sentence."""
    name = label_name(label)
    return name[:1].upper() + name[1:]


def class_index(label: str, row: Mapping[str, Any]) -> int | None:
    """The class of a clip row, or None where the label is not annotated."""
    value = row[COLUMN.get(label, label)]
    if value is None:
        return None
    if label == "diagnosis":
        return DIAGNOSIS.get(value, 1)
    if label == "sf_ratio":
        return sf_class(value)
    if label == "disease":
        return DISEASES.index(value)
    return int(value)


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
