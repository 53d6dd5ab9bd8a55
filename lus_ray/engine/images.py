"""The published split of study 1: copies of frames dealt to folds at random, not by patient.

It leaks by design (Gare 2021, section 3.1: 912 augmented images in three random folds, so that
copies of one frame and frames of one patient are on both sides). An arm that asks for it is named
by the report and stands beside its leak-free twin.
"""

from collections.abc import Sequence

import numpy as np

from lus_ray.clip import Row
from lus_ray.six_copies import SIX_COPIES


def dealt(rows: Sequence[Row], *, fold: int, num_folds: int, seed: int) -> list[Row]:
    """Each clip twice: with its images of the other folds to train, and with those of `fold`.

    `images` of a row lists (frame, copy); the same seed deals the same parts to every fold.
    """
    rows = sorted(rows, key=lambda row: row["clip"])
    images = [
        (place, frame, copy)
        for place, row in enumerate(rows)
        for frame in range(row["num_frames"])
        for copy in range(len(SIX_COPIES))
    ]
    order = np.random.default_rng(seed).permutation(len(images))
    sides: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for position, number in enumerate(order):
        place, frame, copy = images[number]
        side = "test" if position % num_folds == fold else "train"
        sides.setdefault((place, side), []).append((frame, copy))
    return [
        {**rows[place], "split": side, "images": sorted(listed)}
        for (place, side), listed in sorted(sides.items())
    ]
