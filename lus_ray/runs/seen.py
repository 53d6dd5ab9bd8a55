"""Whom weights have seen: no network begins with what learned from patients who test it.

The checkpoint of a run lies in its folder, whose `folds.json` says from whom it learned and who
chose its epoch. Of weights outside of a run folder nobody knows that.
Why patients by name: a patient of a store goes by one name in all its runs.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lus_ray import folds
from lus_ray.errors import FoldError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.folds.grouping import members_of
from lus_ray.runs import layout, leakage


def refuse(experiment: Experiment, dealt: Sequence[Fold], index: pa.Table) -> None:
    """Refuse weights of arms that saw a patient whom a fold tests, or another of the leak group.

    Raises:
        FoldError: names the weights, the patients, and folds that may begin with them.
        StoreError: the weights lie in a run whose record is damaged.
    """
    members, _ = members_of(index)
    for path in sorted({arm.weights for arm in experiment.arms if arm.weights}):
        known = patients(Path(path))
        seen = {name for group in members.values() if known & set(group) for name in group}
        met = {fold.number: sorted(seen & set(fold.test)) for fold in dealt}
        for number, names in met.items():
            if not names:
                continue
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            free = ",".join(str(fold) for fold in met if not met[fold])
            raise FoldError(
                f"{path}: has seen {names[0]!r}{others}, whom fold {number} tests; "
                + (f"run --folds {free} alone, or " if free else "")
                + "begin with weights of other patients"
            )


def patients(path: Path) -> set[str]:
    """Who was learned from or chose the epoch of weights in a run folder; of others, nobody.

    Where the arm leaks, those who tested it as well.
    """
    cells = next((folder for folder in path.parents if _holds_cells(folder)), None)
    if cells is None:
        return set()
    where = path.relative_to(cells).parts
    leaky = {layout.slug(name) for name in leakage.leaks(layout.record(cells.parent))}
    sides = folds.SIDES if where[0] in leaky else ("train", "val")
    dealt = folds.read(cells.parent / layout.FOLDS)
    own = [fold for fold in dealt if f"fold{fold.number}" in where]
    return {name for fold in own or dealt for side in sides for name in getattr(fold, side)}


def _holds_cells(folder: Path) -> bool:
    return folder.name == "cells" and (folder.parent / layout.RECORD).is_file()
