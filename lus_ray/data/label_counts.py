"""How many clips and patients of a store have each value of a label or of another column."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.clip import BIOMARKERS, ETIOLOGIES, SF_BINS, sf_class, to_rows
from lus_ray.data.bands import band_names, find_band
from lus_ray.data.labels import CLASSES, Label

NOT_ANNOTATED = "not annotated"

Counts = Mapping[str, tuple[int, int]]
"""Value -> number of clips, number of patients."""

LABELS = {"severity": "severity", "S/F class": "sf_ratio", "disease": "disease"}
"""Built-in labels with classes: the column of each title."""

COLUMNS: dict[str, tuple[Callable[[Any], str], Sequence[str]]] = {
    "source": (str, ()),
    "probe": (str, ()),
    "domain": (str, ()),
    "site": (str, ()),
    "device": (str, ()),
    "zone": (str, ()),
    "sex": (str, ()),
    "age": (partial(find_band, "age"), band_names("age")),
    "bmi": (partial(find_band, "bmi"), band_names("bmi")),
    "severity": (str, CLASSES["severity"]),
    "sf_ratio": (lambda ratio: SF_BINS[sf_class(ratio)], SF_BINS),
    "disease": (str, CLASSES["disease"]),
    "etiology": (str, ETIOLOGIES),
}
"""How a value of a column is named, and the names in their order."""


def count_values(index: pa.Table, own: Mapping[str, Label]) -> dict[str, Counts]:
    """Counts by title and value: of every column of `COLUMNS`, and of own labels by their name."""
    titles = {column: title for title, column in LABELS.items()}
    patients = index["patient"].to_pylist()
    counts: dict[str, Counts] = {}
    for column, (name, order) in COLUMNS.items():
        values = [None if v is None else name(v) for v in index[column].to_pylist()]
        counts[titles.get(column, column)] = count(values, patients, order)
    labelled = [row["labels"] or {} for row in to_rows(index.select(["labels"]))]
    for label in own.values():
        values = [labels.get(label.name) for labels in labelled]
        found = count(values, patients, label.classes)
        counts[label.name] = {**dict.fromkeys(label.classes, (0, 0)), **found}
    return counts


def count(
    values: Sequence[str | None], patients: Sequence[str], order: Iterable[str] = ()
) -> Counts:
    """Clips and patients by value: first those of `order` that occur, `NOT_ANNOTATED` last."""
    num_clips: Counter[str] = Counter()
    patients_with: dict[str, set[str]] = defaultdict(set)
    for value, patient in zip(values, patients, strict=True):
        name = NOT_ANNOTATED if value is None else value
        num_clips[name] += 1
        patients_with[name].add(patient)
    known = [name for name in order if name in num_clips]
    others = sorted(set(num_clips) - set(known), key=lambda name: (name == NOT_ANNOTATED, name))
    return {name: (num_clips[name], len(patients_with[name])) for name in [*known, *others]}


def count_biomarkers(index: pa.Table) -> dict[str, tuple[int, int, int]]:
    """Clips with and without each biomarker, and patients in whom it is judged."""
    annotated = index.filter(pc.is_valid(index["biomarkers"]))
    if not annotated.num_rows:
        return {}
    values = np.array(annotated["biomarkers"].to_pylist())
    patients = np.array(annotated["patient"].to_pylist())
    rows = (
        (name, (values[:, k] == 1).sum(), (values[:, k] == 0).sum(), patients[values[:, k] >= 0])
        for k, name in enumerate(BIOMARKERS)
    )
    return {n: (int(yes), int(no), len(set(ids))) for n, yes, no, ids in rows if yes + no}


def find_contradictions(index: pa.Table) -> dict[str, tuple[str, ...]]:
    """Patients whose clips give more than one sex, by patient."""
    sexes: dict[str, set[str]] = defaultdict(set)
    for patient, sex in zip(index["patient"].to_pylist(), index["sex"].to_pylist(), strict=True):
        if sex is not None:
            sexes[patient].add(sex)
    return {name: tuple(sorted(found)) for name, found in sexes.items() if len(found) > 1}
