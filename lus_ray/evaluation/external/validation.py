"""Validation predictions of a run, on which temperatures and prediction sets are fitted.

Letters: N examples, K classes.
A validation split chose the epoch of a network, so that its predictions look slightly better than
those of new patients. It is of no use where the model trained on its patients.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lus_ray.evaluation import results
from lus_ray.evaluation.results import CellResult, RunResults
from lus_ray.metrics import classification
from lus_ray.runs import leakage
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import RunRecord

NO_MASKS = "masks are not calibrated here"
TRAINED_ON = "it trained on the validation clips"
LEAKS = "it trained on patients of the validation clips"
NO_CLIPS = "no validation clip is annotated"


@dataclass(frozen=True)
class Examples:
    """Predictions with their target; a judged entry of yes/no labels has two classes."""

    patients: tuple[str, ...]
    target: Int[np.ndarray, "N"]
    probability: Float[np.ndarray, "N K"]
    yes_no: bool = False


def read_validation(run: RunResults, arm: str) -> dict[int, dict[int, CellResult]]:
    """The validation examples of an arm by fold and seed, where there are any."""
    cells: dict[int, dict[int, CellResult]] = {}
    for files in RunFolder(run.out).finished_cells(arm):
        cell = results.read_cell(files, run.record, split="val")
        if cell.arm == arm and cell.fold in run.folds and cell.clips:
            cells.setdefault(cell.fold, {})[cell.seed] = cell
    return cells


def explain_unfit(run: RunResults, arm: str) -> str:
    """Why the validation split of an arm cannot be used; empty where it can."""
    if leakage.PEOPLE & set(run.leaks.get(arm, ())):
        return LEAKS
    return TRAINED_ON if arm in _trained_on_validation(run.record) else ""


def examples_of(cell: CellResult) -> Examples | None:
    """The predictions of a cell; None for masks, and where one is no number."""
    if cell.scheme is not None or classification.explain_unusable(cell.probability):
        return None
    if not cell.multilabel:
        return Examples(cell.patients, cell.target, cell.probability.astype(np.float64))
    row, column = np.nonzero(cell.annotated)
    yes = cell.probability[row, column].astype(np.float64)
    patients = tuple(cell.patients[k] for k in row)
    target = (cell.target[row, column] == 1).astype(np.int64)
    return Examples(patients, target, np.stack([1 - yes, yes], axis=1), yes_no=True)


def _trained_on_validation(record: RunRecord) -> set[str]:
    names: set[str] = set()
    for arm in record.arms:
        if arm.rows.with_val or names.intersection(arm.inputs):
            names.add(arm.name)
    return names
