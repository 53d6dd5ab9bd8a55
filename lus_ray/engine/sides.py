"""The clips of a cell: which side each is on, and which of them the arm may learn from."""

from lus_ray import predictions
from lus_ray.clip import Row
from lus_ray.engine import images
from lus_ray.engine.cell import Cell, Work
from lus_ray.experiment import Arm, Rows
from lus_ray.folds import Fold


def rows(arm: Arm, fold: Fold, cell: Cell, work: Work) -> list[Row]:
    """The clips of this fold with their `split`; with the earlier arm's outputs if it reads one."""
    if arm.reads is not None:
        read = Cell(arm.reads, cell.fold)
        found = predictions.read(read.predictions(work.out))[1].to_pylist()
    else:
        found = [dict(row) for row in work.rows]
    for row in found:
        row["split"] = side_of(arm.rows, row, fold)
    kept = [row for row in found if row["split"] is not None and _wanted(arm, row)]
    if not arm.rows.images:
        return kept
    outlined = [row for row in kept if row["mask_scheme"] is not None]
    number, seed = len(work.folds), work.experiment.seed
    return images.dealt(outlined, fold=fold.number, num_folds=number, seed=seed)


def side_of(wanted: Rows, row: Row, fold: Fold) -> str | None:
    """The side of a clip; None where it has none.

    A clip that is there to train only has no place among those that validate or test.
    """
    side = fold.split_of(row["patient"])
    if wanted.train_without is None or row[wanted.train_without] is not None:
        return side
    if wanted.overlap:
        return "train"
    return "train" if side == "train" else None


def teaching(arm: Arm, train: list[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The training clips that this arm may learn from, and a note where that is not as planned."""
    label = arm.rows.train_without
    if label is None:
        return train, ()
    apart = [row for row in train if row[label] is None]
    if apart:
        return apart, ()
    return train, (f"every training clip has a {label}: it learned from the clips it is read for",)


def _wanted(arm: Arm, row: Row) -> bool:
    return all(row[column] is not None for column in arm.rows.needs) and all(
        row[column] == value for column, value in arm.rows.where.items()
    )
