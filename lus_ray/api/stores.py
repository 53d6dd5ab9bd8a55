"""Stores in Python: clips as tables, their pixels as arrays, folds of their patients.

Shapes: T frames, H rows, W columns. Frames are uint8 grey 0-255, masks uint8 class ids.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import UInt8

from lus_ray.clip import Row, frames_of, masks_of, to_rows
from lus_ray.data import ledger, store
from lus_ray.data.labels import LABELS, Label, class_index
from lus_ray.errors import FoldError, StoreError
from lus_ray.folds import SPLITS, Fold, gate, k_fold
from lus_ray.storage.paths import PathOrUri, join, parse

if TYPE_CHECKING:
    from lus_ray.data.check import Findings

LOCATION = ("clip", "shard", "row_group", "row")
HIDDEN = ("signature", *LOCATION[1:])
"""Columns of an index that are of no use in a table."""
INTEGERS = {pa.int8(): pd.Int8Dtype(), pa.int32(): pd.Int32Dtype()}
"""Types of pandas that keep integers where some values are missing."""


class Store:
    """The clips of a store, which is a folder or a URI.

    Raises:
        StoreError: there is no store, or it is damaged.
    """

    def __init__(self, location: PathOrUri) -> None:
        self.location = location
        self._index = store.read_index(location)

    def __len__(self) -> int:
        return int(self._index.num_rows)

    def __repr__(self) -> str:
        return (
            f"Store({str(self.location)!r}: {len(self)} clips of {len(self.patients)} patients, "
            f"labels {', '.join(self.labels) or 'none'})"
        )

    @cached_property
    def clips(self) -> pd.DataFrame:
        """A row for each clip, without pixels; a column for each own label.

        A value is missing where the clip is not annotated.
        """
        table = self._index.drop_columns([*HIDDEN, "labels"])
        clips = table.to_pandas(types_mapper=INTEGERS.get)
        for name in store.read_labels(self.location):
            own = [(row["labels"] or {}).get(name) for row in self._rows]
            clips[name] = pd.Series(own, dtype="str")
        return clips

    @cached_property
    def patients(self) -> pd.DataFrame:
        """By patient: `source`, `group` and number of `clips`. Folds never split a group."""
        own = self.clips.groupby("patient")
        return own.agg(source=("source", "first"), group=("group", "first"), clips=("clip", "size"))

    @cached_property
    def labels(self) -> dict[str, Label]:
        """The labels that at least one clip has, with their classes."""
        known = LABELS | store.read_labels(self.location)
        return {
            name: label
            for name, label in known.items()
            if any(class_index(name, row, label.classes) is not None for row in self._rows)
        }

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """What ingests skipped, repaired or noted, with the reason."""
        entries = map(vars, ledger.read(join(self.location, "ledger.jsonl")))
        return pd.DataFrame(entries, columns=["source", "item", "action", "reason"])

    def frames(self, clip: str) -> UInt8[np.ndarray, "T H W"]:
        """The frames of a clip; StoreError if there is no clip of this name."""
        return next(self.read([clip]))["frames"]

    def masks(self, clip: str) -> UInt8[np.ndarray, "T H W"] | None:
        """The masks of a clip, or None where it has none."""
        return next(self.read([clip]))["masks"]

    def read(self, clips: Iterable[str] | None = None) -> Iterator[Row]:
        """A dict for each clip, in this order: its columns, with `frames` and `masks` as arrays.

        Raises StoreError if there is no clip of a name.
        """
        names = list(self._locations if clips is None else clips)
        if missing := [name for name in names if name not in self._locations]:
            raise StoreError(f"{self.location}: no clip {missing[0]!r}; see the column 'clip'")
        for row in store.read_located(self.location, [self._locations[name] for name in names]):
            yield {**row, "frames": frames_of(row), "masks": masks_of(row)}

    @cached_property
    def _rows(self) -> list[Row]:
        return to_rows(self._index.drop_columns(HIDDEN))

    @cached_property
    def _locations(self) -> dict[str, tuple[str, str, int, int]]:
        columns = (self._index[name].to_pylist() for name in LOCATION)
        return {location[0]: location for location in zip(*columns, strict=True)}


def open_store(location: Store | Path | str) -> Store:
    """The store at a path or URI.

    Raises:
        StoreError: there is no store, or it is damaged.
    """
    return location if isinstance(location, Store) else Store(parse(str(location)))


def ingest(
    source: str, root: Path | str | None, store: Path | str, *, address: str | None = None,
    **options: Any,
) -> Store:  # fmt: skip
    """Read the clips of a source below `root` into a store, as `lus ingest` does.

    `options` are those of the command with underscores: `labels`, `max_side`, `workers`,
    `missing_patient`, `strict`; for "phantom", whose root is None, `patients`, `clips`, `seed`.
    What could not be used is in the store's `ledger`. With `address`, a Ray cluster decodes.

    Raises:
        SourceError: the source or an option is unknown, or no clip can be used.
        StoreError: the store cannot be written.
    """
    places = (source, None if root is None else Path(root), parse(str(store)))
    if address is None:
        from lus_ray.data.ingest.pipeline import ingest as read_source

        read_source(*places, **options)
    else:
        from lus_ray.orchestration.cluster_ingest import ingest_on_cluster

        ingest_on_cluster(address, *places, **options)
    return open_store(store)


def check(store: Store | Path | str) -> "Findings":
    """Counts, copies, leaks and damage of a store; `print(check(store).text())` shows them.

    Raises:
        StoreError: there is no store.
    """
    from lus_ray.data.check import check_store

    return check_store(open_store(store).location)


def folds(
    store: Store | Path | str, k: int = 5, *, label: str | None = "severity", seed: int = 0
) -> pd.DataFrame:
    """The split ("train", "val" or "test") of every patient in each of k folds.

    A row for each patient, a column for each fold: `store.clips.join(folds(store), on="patient")`.
    Every patient tests once. Patients of one group are in one split. The classes of `label` are
    balanced over folds, so far as groups allow. The same seed gives the same folds.

    Raises:
        FoldError: there are too few groups of patients, or nobody has the label.
    """
    clips = open_store(store)
    index = clips._index
    if label is not None:
        if label not in clips.labels:
            known = ", ".join(clips.labels) or "no label"
            raise FoldError(f"{clips.location}: no clip has the label {label!r}; they have {known}")
        index = _with_classes(clips, clips.labels[label])
    assigned = k_fold(k, stratify=label).assign(index, seed=seed)
    gate(assigned, index)
    return to_table(assigned)


def to_table(folds: Iterable[Fold]) -> pd.DataFrame:
    """Folds as a table with a row for each patient and a column for each fold."""
    columns = {
        fold.number: pd.Series({p: split for split in SPLITS for p in getattr(fold, split)})
        for fold in folds
    }
    return pd.DataFrame(columns).sort_index().rename_axis(index="patient", columns="fold")


def _with_classes(clips: Store, label: Label) -> pa.Table:
    """The index with the class of each clip in the column that folds are balanced by."""
    index = clips._index
    if label.name in index.column_names:
        return index
    classes = [class_index(label.name, row, label.classes) for row in clips._rows]
    if not label.ordered:
        names = [None if number is None else label.classes[number] for number in classes]
        return index.append_column(label.name, pa.array(names, pa.string()))
    return index.append_column(label.name, pa.array(classes, pa.int32()))
