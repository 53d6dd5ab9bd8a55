"""The classes that a cell's training rows hold; the model of the cell knows no other."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lus_ray.clip import Row
from lus_ray.data import masks
from lus_ray.data.loading.batches import Pixels
from lus_ray.experiment import Arm
from lus_ray.runs import cell_predictions, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks.merged_classes import MergedClasses
from lus_ray.tasks.task import PredictionRow


def find(task: Any, train: Sequence[Row], pixels: Pixels) -> tuple[str, ...]:
    """Names of the task's classes among its training rows, as `of_targets`; of masks, by pixel."""
    if task.scheme is None:
        targets = [cell_predictions.target_of(task, row) for row in train]
        return of_targets(targets, task.classes, multilabel=task.multilabel)
    held: set[int] = set()
    for row, ids in zip(train, pixels.masks(train, task.view), strict=True):
        frames = slice(None) if row.get("images") is None else [n for n, *_ in row["images"]]
        held |= set(np.unique(masks.convert_masks(ids[frames], row["mask_scheme"], task.scheme)))
    return _names(task.classes, held)


def of_targets(
    targets: Iterable[Any], classes: Sequence[str], *, multilabel: bool
) -> tuple[str, ...]:
    """Names of the classes that occur among targets; of labels, those with both values, 0 and 1.

    A target is a class index, a list of one per frame, or a list of 0, 1 or -1 per label.
    """
    known = [target for target in targets if target is not None]
    if not multilabel:
        return _names(classes, set(np.concatenate([[], *map(np.atleast_1d, known)])))
    table = np.array(known, np.int64).reshape(-1, len(classes))
    return _names(classes, np.flatnonzero((table == 1).any(axis=0) & (table == 0).any(axis=0)))


def keep_trained(
    task: Any, rows: Sequence[PredictionRow], trained: Sequence[str] | None
) -> list[PredictionRow]:
    """Validation rows with a target, without clips, frames and pixels of untrained classes.

    A model predicts them by chance, so that they must not select an epoch.
    """
    known = np.isin(task.classes, task.classes if trained is None else trained)
    if known.all():
        return list(rows)
    kept: list[PredictionRow] = []
    for row in [row for row in rows if row["target"] is not None]:
        target: Any = row["target"]
        changes: dict[str, Any] = {}
        if task.scheme is not None:
            counts = np.reshape(row["counts"], (-1, len(known), len(known)))
            changes = {"counts": counts * known[:, None]}
        elif task.multilabel:
            changes = {"target": np.where(known, target, -1)}
        elif task.by_frame:
            frames = known[target]
            changes = {"target": np.asarray(target)[frames], "outputs": row["outputs"][frames]}
        elif not known[target]:
            continue
        kept.append({**row, **changes})
    return kept


def inherit(task: Any, arm: Arm, cell: Cell, plan: RunPlan) -> tuple[str, ...] | None:
    """Classes of the arms that an arm predicts from without training; None where unknown."""
    names = arm.members or tuple(name for name in (arm.reads, arm.start) if name)[:1]
    held: set[str] = set()
    for name in names:
        path = plan.folder_of(cell.input(name)).predictions
        info, _ = predictions.read(path, ())
        if info.trained is None:
            return None
        if isinstance(task, MergedClasses):
            numbers = {task.mapping[info.classes.index(own)] for own in info.trained}
            held |= set(_names(task.classes, numbers))
        elif info.classes == tuple(task.classes):
            held |= set(info.trained)
        else:
            return None
    return tuple(name for name in task.classes if name in held) if names else None


def _names(classes: Sequence[str], numbers: Iterable[Any]) -> tuple[str, ...]:
    held = {int(number) for number in numbers}
    return tuple(name for k, name in enumerate(classes) if k in held)
