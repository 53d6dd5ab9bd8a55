"""The label of a study of any one label: the one that a command names, or the store's only one."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping

import pyarrow as pa

from lus_ray.clip import to_rows
from lus_ray.data import store
from lus_ray.data.labels import DIAGNOSIS, LABELS, PNEUMONIA_DIAGNOSIS, SEVERITY, Label, class_index
from lus_ray.errors import InputError
from lus_ray.storage.paths import PathOrUri
from lus_ray.suggestions import did_you_mean, find_close

DERIVED = (DIAGNOSIS.name,)
"""Labels that follow from another one; they are taken only where a command names them."""


def choose_label(
    study: str, data: PathOrUri | None, name: str | None, notify: Callable[[str], None]
) -> Label:
    """The label of this name, or without one the only label of the store with two classes.

    Raises:
        InputError: the store does not have it, or has none or several; the message lists them.
    """
    if data is None:
        if name not in (None, *LABELS):
            raise InputError(f"--label {name}: phantom clips have {', '.join(LABELS)}; give --data")
        return SEVERITY if name is None else LABELS[name]
    known = find_labels(data)
    if name is not None:
        if name in known:
            return known[name]
        if name in LABELS:
            raise InputError(f"--label {name}: no clip of {data} has it; it has {_list(known)}")
        hint = did_you_mean(find_close(name, known))
        raise InputError(f"--label {name}: no label of {data}; it has {_list(known)}{hint}")
    usable = [label for label in known if label not in DERIVED]
    if len(usable) == 1:
        notify(f"note: label {usable[0]}, the only one of {data}")
        return known[usable[0]]
    if not usable:
        raise InputError(f"{data}: no label with two classes; add one and ingest again")
    raise InputError(
        f"{data}: has the labels {_list(known)}; choose one: "
        f"lus run {study} --data {shlex.quote(str(data))} --label {shlex.quote(usable[0])}"
    )


def find_labels(data: PathOrUri, index: pa.Table | None = None) -> dict[str, Label]:
    """Labels of which the clips of a store have two classes or more, by name.

    The diagnosis has its class "pneumonia" where clips have the etiology of one.
    """
    own = store.read_labels(data)
    columns = ("clip", "severity", "sf_ratio", "disease", "etiology", "labels")
    rows = to_rows(store.read_index(data, columns) if index is None else index.select(columns))
    built_in: Mapping[str, Label] = LABELS
    if any(row["etiology"] for row in rows):
        built_in = LABELS | {DIAGNOSIS.name: PNEUMONIA_DIAGNOSIS}
    labels = {**built_in, **own}
    classes = {
        name: Counter(class_index(name, row, label.classes) for row in rows)
        for name, label in labels.items()
    }
    return {name: labels[name] for name, counts in classes.items() if len(set(counts) - {None}) > 1}


def _list(labels: Mapping[str, Label]) -> str:
    return ", ".join(labels) or "none with two classes"
