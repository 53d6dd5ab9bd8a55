"""The clips of a cell: which side each is on, and which of them the arm may learn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lus_ray.clip import Row
from lus_ray.data.loading import sampler
from lus_ray.experiment import Arm, Experiment, Rows
from lus_ray.folds import Fold
from lus_ray.runs import at_random, predictions
from lus_ray.runs.cell import Cell, Work

WITHOUT_LABELS = (
    "clip", "patient", "group", "source", "domain", "height", "width", "num_frames", "images",
)  # fmt: skip
"""All that a row of an unlabelled stream has."""


def rows(arm: Arm, fold: Fold, cell: Cell, work: Work) -> list[Row]:
    """The clips of this fold with their `split`; with the earlier arm's outputs if it reads one.

    What reads an arm whose images or clips were dealt at random has the sides of that arm.
    """
    if arm.reads is not None:
        read = Cell(arm.reads, cell.fold)
        found = predictions.read(read.predictions(work.out))[1].to_pylist()
        if _dealt_at_random(arm.reads, work.experiment):
            return [row for row in found if _wanted(arm, row)]
    else:
        found = [dict(row) for row in work.rows]
    for row in found:
        row["split"] = side_of(arm.rows, row, fold)
    kept = [row for row in found if row["split"] is not None and _wanted(arm, row)]
    kept = [row for row in kept if row["split"] == "test" or equal(row, arm.rows.learns)]
    number, seed = len(work.folds), work.experiment.seed
    if arm.rows.images:
        outlined = [row for row in kept if row["mask_scheme"] is not None]
        return at_random.images(outlined, fold=fold.number, num_folds=number, seed=seed)
    if arm.rows.clips:
        label = str(arm.label)
        return at_random.clips(kept, label, fold=fold.number, num_folds=number, seed=seed)
    return kept


def side_of(wanted: Rows, row: Row, fold: Fold) -> str | None:
    """The side of a clip; None where it has none.

    A clip that is there to train only has no place among those that validate or test.
    """
    side = fold.split_of(row["patient"])
    side = "train" if side == "val" and wanted.with_val else side
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


def unlabelled(arm: Arm, fold: Fold, work: Work) -> list[Row]:
    """The training clips of the second stream, with nothing that was ever said of them.

    Which of their frames are looked at (`images`) stays: a study that leaves out frames without
    a B-line has looked at them.
    """
    if not arm.rows.unlabelled:
        return []
    return [
        {**{name: row[name] for name in WITHOUT_LABELS if name in row}, "split": "train"}
        for row in work.rows
        if side_of(arm.rows, row, fold) == "train" and equal(row, arm.rows.unlabelled)
    ]


def reduced(train: Sequence[Row], number: int, *, seed: int) -> list[Row]:
    """Clips with `number` of their frames, of each patient in proportion to those it has.

    All of them where there are not more; parts of a frame go to the largest remainders.
    """
    images = [
        (row["patient"], place, frame, copy)
        for place, row in enumerate(train)
        for frame, copy in sampler.images_of(row, 1).tolist()
    ]
    if number >= len(images):
        return list(train)
    rng = np.random.default_rng(seed)
    patients = sorted({patient for patient, *_ in images})
    own = {name: [image for image in images if image[0] == name] for name in patients}
    exact = np.array([number * len(own[name]) / len(images) for name in patients])
    share = np.floor(exact).astype(int)
    share[np.argsort(share - exact, kind="stable")[: number - share.sum()]] += 1
    kept: dict[int, list[list[int]]] = {}
    for name, wanted in zip(patients, share, strict=True):
        for chosen in sorted(rng.permutation(len(own[name]))[:wanted]):
            _, place, frame, copy = own[name][chosen]
            kept.setdefault(place, []).append([frame, copy])
    return [{**train[place], "images": kept[place]} for place in sorted(kept)]


def equal(row: Row, wanted: Mapping[str, Any]) -> bool:
    """Whether a clip has these values."""
    return all(row[column] == value for column, value in wanted.items())


def _wanted(arm: Arm, row: Row) -> bool:
    needs = all(row[column] is not None for column in arm.rows.needs)
    return needs and equal(row, arm.rows.where)


def _dealt_at_random(name: str, experiment: Experiment) -> bool:
    """Whether an arm, or one that it reads, has sides that say nothing of patients."""
    arm = experiment.arm(name)
    own = arm.rows.images or arm.rows.clips
    return own or (arm.reads is not None and _dealt_at_random(arm.reads, experiment))
