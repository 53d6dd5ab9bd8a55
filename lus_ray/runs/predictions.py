"""Prediction tables: a clip table without pixels, with the predictions of an arm.

    <out>/predictions/<arm>/fold<k>[-seed<n>].parquet

Identity and label columns are those of the clip schema, `split` is that of the clip in `fold`. The
Parquet metadata hold the arm, its label and its classes. Predictions of pixels are counted:
`counts` is a flattened confusion matrix (truth by row) per frame, `bins` the histogram of
confidences (number, sum of confidence, number right) over all frames.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray.clip import LATER_COLUMNS, PIXEL_COLUMNS, SCHEMA, Row, fill_columns
from lus_ray.errors import CellError, StoreError
from lus_ray.storage.files import open_parquet, write_atomically
from lus_ray.storage.paths import describe_error

KEY = b"lus_ray.prediction"
KEPT = tuple(name for name in SCHEMA.names if name not in (*PIXEL_COLUMNS, "signature"))


@dataclass(frozen=True)
class PredictionInfo:
    """What the rows of a prediction table have in common.

    `multilabel`: a target has one entry per class. `by_frame`: it has one class index per frame,
    and `outputs` one line per frame. `inherited`: the same, where every frame has the class of its
    clip. `scheme`: the mask scheme of pixels, with one confusion matrix per frame in `counts`.
    `seed`: the number of the training seed.
    `trained`: the classes among the training rows, of `multilabel` those with both values; None
    where unknown, as in tables of earlier versions. `model`: in an external validation, the hash of
    the checkpoint and of those whose predictions it reads.
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
    trained: tuple[str, ...] | None = None
    seed: int = 0
    model: str = ""


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


def make_row(
    clip: Row, *, fold: int, split: str, target: Any, prediction: Mapping[str, np.ndarray]
) -> Row:
    """One row of a prediction table from a clip row and a prediction for it."""
    kept = {name: clip[name] for name in KEPT} | {"fold": fold, "split": split, "target": target}
    return kept | {name: array.tolist() for name, array in prediction.items()}


def write(path: Path, rows: Sequence[Row], info: PredictionInfo) -> None:
    """Write a table atomically; CellError if the disk is full."""
    columns = schema(several=info.multilabel or info.by_frame)
    table = pa.Table.from_pylist(list(rows), schema=columns)
    table = table.replace_schema_metadata({KEY: json.dumps(asdict(info)).encode()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as aside:
            pq.write_table(table, aside, compression="zstd")
    except OSError as error:
        raise CellError(
            f"{path}: not written: {describe_error(error)}; free some space and run the same "
            "command again"
        ) from error


def read(
    path: Path, columns: Sequence[str] | Callable[[PredictionInfo], Sequence[str]] | None = None
) -> tuple[PredictionInfo, pa.Table]:
    """Metadata and columns of a prediction table; StoreError if it is missing or damaged."""
    file = open_parquet(path)
    try:
        contents = json.loads((file.schema_arrow.metadata or {})[KEY])
        trained = contents.get("trained")
        contents["trained"] = None if trained is None else tuple(trained)
        info = PredictionInfo(**{**contents, "classes": tuple(contents["classes"])})
        names = columns(info) if callable(columns) else columns
        stored = file.schema_arrow.names
        later = [name for name in LATER_COLUMNS if name not in stored]
        names = [*stored, *later] if names is None else list(names)
        table = file.read(columns=[name for name in names if name in stored])
        return info, fill_columns(table, [n for n in names if n in stored or n in later])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path}: no prediction table ({reason}); delete it and run again"
        ) from error
