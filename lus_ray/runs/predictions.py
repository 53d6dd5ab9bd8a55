"""Prediction tables: a clip table without pixels, plus what an arm said of each clip.

    <out>/predictions/<arm>/fold<k>.parquet

Identity and label columns are those of the clip schema; `split` and `fold` say which side of
which fold the clip was on. The Parquet metadata name the arm, its label and its classes. What was
said of pixels is counted: `counts` holds a flattened confusion matrix (truth by row) per frame,
`bins` the histogram of confidences (number, sum of confidence, number right) of all its frames.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray.clip import PIXEL_COLUMNS, SCHEMA, Row
from lus_ray.errors import CellError, StoreError
from lus_ray.storage.files import open_parquet, write_atomically
from lus_ray.storage.paths import describe_error

KEY = b"lus_ray.prediction"
KEPT = tuple(name for name in SCHEMA.names if name not in (*PIXEL_COLUMNS, "signature"))


@dataclass(frozen=True)
class About:
    """What the rows of a prediction table have in common.

    `multilabel`: a target has one entry per class. `by_frame`: it has one class index per frame,
    and `outputs` has one line per frame of the clip, in order. `inherited`: so has it, and every
    frame has the class of its clip. `scheme`: pixels have classes of
    this mask scheme, and `counts` has one confusion matrix per frame.
    """

    arm: str
    fold: int
    label: str | None
    classes: tuple[str, ...]
    multilabel: bool
    fingerprint: str
    by_frame: bool = False
    inherited: bool = False
    scheme: str | None = None


def schema(*, several: bool) -> pa.Schema:
    """Columns of a prediction table; a target is a class index, or `several` numbers."""
    vector, matrix = pa.list_(pa.float32()), pa.list_(pa.list_(pa.float32()))
    return pa.schema(
        [
            *(SCHEMA.field(name) for name in KEPT),
            pa.field("fold", pa.int32(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("target", pa.list_(pa.int8()) if several else pa.int32()),
            pa.field("probability", vector),
            pa.field("outputs", matrix),
            pa.field("features", matrix),
            pa.field("counts", pa.list_(pa.list_(pa.int32()))),
            pa.field("bins", matrix),
        ]
    )


def row(clip: Row, *, fold: int, split: str, target: Any, said: Mapping[str, np.ndarray]) -> Row:
    """One row of a prediction table from a clip row and a predictor's answer."""
    values = {name: array.tolist() for name, array in said.items()}
    kept = {name: clip[name] for name in KEPT}
    return {**kept, "fold": fold, "split": split, "target": target, **values}


def write(path: Path, rows: Sequence[Row], about: About) -> None:
    """Write a table aside, then rename it: a file that exists is whole.

    Raises:
        CellError: the disk takes no more; an earlier table stays.
    """
    plain = schema(several=about.multilabel or about.by_frame)
    table = pa.Table.from_pylist(list(rows), schema=plain)
    table = table.replace_schema_metadata({KEY: json.dumps(asdict(about)).encode()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as aside:
            pq.write_table(table, aside, compression="zstd")
    except OSError as error:
        raise CellError(
            f"{path}: not written: {describe_error(error)}; make room there and run the same "
            "command again"
        ) from error


Columns = Sequence[str] | Callable[[About], Sequence[str]]
"""Names of columns, or a function that names those of a table that one knows only by opening it."""


def read(path: Path, columns: Columns | None = None) -> tuple[About, pa.Table]:
    """What `write` wrote, or some columns of it.

    Raises:
        StoreError: the file is missing, damaged, or no prediction table.
    """
    file = open_parquet(path)
    try:
        about = json.loads((file.schema_arrow.metadata or {})[KEY])
        known = About(**{**about, "classes": tuple(about["classes"])})
        names = columns(known) if callable(columns) else columns
        return known, file.read(columns=None if names is None else list(names))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path}: no prediction table ({reason}); delete it and run again"
        ) from error
