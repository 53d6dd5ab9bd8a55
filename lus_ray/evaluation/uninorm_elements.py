"""The neutral elements that uninorm arms learned, one for each score, all in [0, 1].

A frame probability above the neutral element of a score speaks for that score, one below it
against, so that the four numbers say how an arm reads a clip.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from lus_ray.errors import StoreError
from lus_ray.evaluation import frame_arms
from lus_ray.evaluation.results import Cell, Run
from lus_ray.nets.pretrained import weights

NAME = "net.neutral"


def compare(run: Run) -> list[dict[str, Any]]:
    """By uninorm arm: neutral elements of each fold, their mean and standard deviation (ddof 0).

    Raises:
        StoreError: a checkpoint holds neutral elements outside [0, 1].
        CheckpointError: a checkpoint is damaged.
    """
    found = []
    for name in frame_arms.readers(run.experiment):
        by_fold = {fold: learned(cell) for fold, cell in _cells_of(run, name).items()}
        known = {fold: values for fold, values in by_fold.items() if values is not None}
        if known:
            table = np.stack(list(known.values()))
            found.append(
                {
                    "arm": name,
                    "folds": {fold: values.tolist() for fold, values in known.items()},
                    "mean": table.mean(axis=0).tolist(),
                    "std": table.std(axis=0).tolist(),
                }
            )
    return found


def learned(cell: Cell) -> Float[np.ndarray, "K"] | None:
    """The neutral elements in the checkpoint of a cell; None where it has none."""
    path = cell.folder / "checkpoint" / "weights.safetensors"
    if not path.is_file():
        return None
    neutral = weights.read(path).get(NAME)
    if neutral is None:
        return None
    values = neutral.double().numpy()
    if values.shape != (len(cell.classes),) or not ((values >= 0) & (values <= 1)).all():
        raise StoreError(
            f"{path}: {NAME} is {values.tolist()}, not {len(cell.classes)} numbers in [0, 1]; "
            "remove the cell and run again"
        )
    return values


def _cells_of(run: Run, name: str) -> Mapping[int, Cell]:
    return {fold: run.cells[name, fold] for fold in sorted(run.folds) if (name, fold) in run.cells}
