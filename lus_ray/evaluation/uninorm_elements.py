"""The neutral elements that uninorm arms learned, one per score, all in [0, 1]."""

import numpy as np
from jaxtyping import Float

from lus_ray.errors import StoreError
from lus_ray.evaluation import frame_arms
from lus_ray.evaluation.results import CellResult, RunResults
from lus_ray.evaluation.schema import NeutralElements
from lus_ray.nets.pretrained import weights
from lus_ray.runs.layout import CHECKPOINT

PARAMETER = "net.neutral"


def read_all(run: RunResults) -> tuple[NeutralElements, ...]:
    """Neutral elements of every uninorm arm: by fold, their mean and standard deviation (ddof 0).

    Of several training seeds, they are those of the first.

    Raises:
        StoreError: a checkpoint holds neutral elements outside [0, 1].
        CheckpointError: a checkpoint is damaged.
    """
    arms = []
    for name in frame_arms.aggregators(run.record):
        cells = {fold: run.cells.get((name, fold)) for fold in sorted(run.folds)}
        by_fold = {fold: _read_cell(cell) for fold, cell in cells.items() if cell is not None}
        known = {fold: values for fold, values in by_fold.items() if values is not None}
        if known:
            table = np.stack(list(known.values()))
            mean, std = (tuple(row.tolist()) for row in (table.mean(axis=0), table.std(axis=0)))
            folds = {fold: tuple(values.tolist()) for fold, values in known.items()}
            arms.append(NeutralElements(arm=name, folds=folds, mean=mean, std=std))
    return tuple(arms)


def _read_cell(cell: CellResult) -> Float[np.ndarray, "K"] | None:
    path = cell.folder / CHECKPOINT / "weights.safetensors"
    if not path.is_file():
        return None
    neutral = weights.read(path).get(PARAMETER)
    if neutral is None:
        return None
    values = neutral.double().numpy()
    if values.shape != (len(cell.classes),) or not ((values >= 0) & (values <= 1)).all():
        raise StoreError(
            f"{path}: {PARAMETER} is {values.tolist()}, not {len(cell.classes)} numbers in [0, 1]; "
            "remove the cell and run again"
        )
    return values
