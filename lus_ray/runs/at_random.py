"""The published splits of study 1: images and clips dealt to folds whatever their patient.

They leak by design. Gare 2021 deals 912 augmented images to three random folds (section 3.1), so
that copies of one frame and frames of one patient are on both sides; for the diagnosis it deals
clips, whole and balanced in class, so that clips of one patient are. An arm that asks for either
is named by the report and stands beside its leak-free twin.
"""

from collections.abc import Sequence

import numpy as np

from lus_ray.clip import Row
from lus_ray.data.labels import class_index
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES


def images(rows: Sequence[Row], *, fold: int, num_folds: int, seed: int) -> list[Row]:
    """Each clip twice: with its images of the other folds to train, and with those of `fold`.

    `images` of a row lists (frame, copy); the same seed deals the same parts to every fold.
    """
    rows = sorted(rows, key=lambda row: row["clip"])
    listed = [
        (place, frame, copy)
        for place, row in enumerate(rows)
        for frame in range(row["num_frames"])
        for copy in range(len(SIX_COPIES))
    ]
    order = np.random.default_rng(seed).permutation(len(listed))
    sides: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for position, number in enumerate(order):
        place, frame, copy = listed[number]
        sides.setdefault((place, _side(position, fold, num_folds)), []).append((frame, copy))
    return [
        {**rows[place], "split": side, "images": sorted(own)}
        for (place, side), own in sorted(sides.items())
    ]


def clips(rows: Sequence[Row], label: str, *, fold: int, num_folds: int, seed: int) -> list[Row]:
    """Each clip with a class of this label once: to test in its own fold, to train in the others.

    Every class and the whole are balanced in number of clips; the same seed deals the same parts to
    every fold.
    """
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["clip"]):
        if (own := class_index(label, row)) is not None:
            by_class.setdefault(own, []).append(row)
    order = [by_class[k][n] for k in sorted(by_class) for n in rng.permutation(len(by_class[k]))]
    dealt = [{**row, "split": _side(n, fold, num_folds)} for n, row in enumerate(order)]
    return sorted(dealt, key=lambda row: row["clip"])


def _side(position: int, fold: int, num_folds: int) -> str:
    return "test" if position % num_folds == fold else "train"
