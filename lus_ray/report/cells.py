"""What a run directory holds: the experiment, its folds, and one cell per arm and fold.

    experiment.json                      arms, recipes, published values, claims
    folds.json                           patients of every fold
    predictions/<arm>/fold<k>.parquet    a clip table with probabilities instead of pixels
    cells/<arm>/fold<k>/                 cost.json, metrics.jsonl

Letters: N test clips with a target, K classes.
Folder names are shortened by whoever writes them, so a cell is known by the metadata of its
prediction file, never by its path.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from lus_ray import folds, predictions
from lus_ray.errors import FoldError, StoreError
from lus_ray.folds import Fold

COLUMNS = ("clip", "patient", "split", "target", "probability")


@dataclass(frozen=True)
class Cell:
    """The test clips with a target of one arm on one fold, what it cost, and its epochs.

    `target` (N) are class indices, or (N, K) entries 1, 0 and -1 where `multilabel`.
    """

    arm: str
    fold: int
    classes: tuple[str, ...]
    multilabel: bool
    fingerprint: str
    clips: tuple[str, ...]
    patients: tuple[str, ...]
    target: Int[np.ndarray, "N"] | Int[np.ndarray, "N K"]
    probability: Float[np.ndarray, "N K"]
    cost: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]

    @property
    def num_patients(self) -> int:
        """Patients among the test clips with a target."""
        return len(set(self.patients))


@dataclass(frozen=True)
class Run:
    """A run directory in memory."""

    out: Path
    experiment: dict[str, Any]
    folds: dict[int, Fold]
    cells: dict[tuple[str, int], Cell]


def read(out: Path) -> Run:
    """Everything the report needs of a run directory.

    Raises:
        StoreError: a file is missing or damaged, or two files claim to be one cell.
        FoldError: a prediction tests a patient that its fold does not test.
    """
    experiment = _json(out / "experiment.json")
    dealt = {fold.number: fold for fold in folds.read(out / "folds.json")}
    cells: dict[tuple[str, int], Cell] = {}
    for path in sorted(out.glob("predictions/*/fold*.parquet")):
        cell = _cell(path, out)
        if (cell.arm, cell.fold) in cells:
            raise StoreError(f"{path}: arm {cell.arm!r} fold {cell.fold} is here twice; remove one")
        _check_patients(cell, dealt, path)
        cells[cell.arm, cell.fold] = cell
    return Run(out, experiment, dealt, cells)


def _cell(path: Path, out: Path) -> Cell:
    about, table = predictions.read(path, COLUMNS)
    try:
        rows = _tested(table)
        target, probability = _arrays(rows, multilabel=about.multilabel)
        folder = out / "cells" / path.parent.name / path.stem
        return Cell(
            arm=about.arm,
            fold=about.fold,
            classes=about.classes,
            multilabel=about.multilabel,
            fingerprint=about.fingerprint,
            clips=tuple(rows["clip"].to_pylist()),
            patients=tuple(rows["patient"].to_pylist()),
            target=target,
            probability=probability,
            cost=_json(folder / "cost.json") if (folder / "cost.json").exists() else {},
            epochs=tuple(_lines(folder / "metrics.jsonl")),
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            f"{path}: not a prediction table ({reason}); remove it and run again"
        ) from error


def _tested(table: pa.Table) -> pa.Table:
    """Test rows with a target and a probability, in the order of their clip names."""
    rows = table.filter(
        pc.and_(
            pc.equal(table["split"], "test"),
            pc.and_(table["target"].is_valid(), table["probability"].is_valid()),
        )
    )
    return rows.sort_by("clip")


def _arrays(rows: pa.Table, *, multilabel: bool) -> tuple[np.ndarray, Float[np.ndarray, "N K"]]:
    target = np.array(rows["target"].to_pylist(), np.int64)
    probability = np.array(rows["probability"].to_pylist(), np.float64)
    if not len(rows):
        return target, probability.reshape(0, 0)
    num_classes = probability.shape[1]
    if multilabel and target.shape != probability.shape:
        raise ValueError(f"targets {target.shape} for probabilities {probability.shape}")
    if not multilabel and not 0 <= target.min() <= target.max() < num_classes:
        raise ValueError(f"targets {target.min()}..{target.max()} for {num_classes} classes")
    return target, probability


def _check_patients(cell: Cell, dealt: dict[int, Fold], path: Path) -> None:
    if cell.fold not in dealt:
        raise FoldError(f"{path}: fold {cell.fold} is not in folds.json; remove the file")
    if strange := sorted(set(cell.patients) - set(dealt[cell.fold].test)):
        raise FoldError(
            f"{path}: tests patient {strange[0]!r}, whom fold {cell.fold} of folds.json does not "
            "test; the file is of other folds, remove it and run again"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: no such file; name a folder that 'lus run ... --out' wrote"
        ) from error
    except (ValueError, TypeError, OSError) as error:
        raise StoreError(f"{path}: not readable ({error}); run the experiment again") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file; a last line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield dict(json.loads(line))
        except (ValueError, TypeError):
            return
