"""Masks: conversion between class schemes, resizing and smoothing.

Letters: T frames, H rows, W columns; h and w after resizing.
Sources: Gare 2021 merges dense labels and predictions to sparse ones for the comparison: both
pleurae become one class, the regions below them background. The released evaluation of Roy 2020
smooths the masks of its experts.
"""

from functools import reduce

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import MASK_SCHEMES
from lus_ray.errors import ArmError, SchemaError

CLASS_COLOURS = ("#2f7ff0", "#f5a623", "#fff3a6", "#b5366f", "#7fe0d0", "#8a5a2b")
"""Colour of class 1, 2 and so on, repeated after the last; background has none. Colour-blind
readers can distinguish any two of them."""

DERIVED: dict[tuple[str, str], tuple[str, ...]] = {
    ("dense", "sparse"): (
        "background",
        "A-line",
        "B-line",
        "pleura",
        "pleura",
        *["background"] * 2,
    ),
    ("dense", "bline"): ("background", "background", "B-line", *["background"] * 4),
    ("sparse", "bline"): ("background", "background", "B-line", "background"),
}
"""(source, target) -> class in the target of each class of the source. Every class of the source
lies within one class of the target; markers of scores do not separate B-lines, so ("markers",
"bline") is missing."""


def class_map(source: str, target: str) -> tuple[int, ...]:
    """Target class id of each source class id; a scheme maps to itself.

    Raises:
        ArmError: the target cannot be derived from the source; the message lists what can.
    """
    if source == target and source in MASK_SCHEMES:
        return tuple(range(len(MASK_SCHEMES[source])))
    if (source, target) not in DERIVED:
        pairs = ", ".join(f"{a} to {b}" for a, b in DERIVED)
        raise ArmError(
            f"masks cannot be converted from {source!r} to {target!r}; possible: {pairs}"
        )
    return tuple(map(MASK_SCHEMES[target].index, DERIVED[source, target]))


def convert_masks(
    ids: UInt8[np.ndarray, "*shape"], source: str, target: str
) -> UInt8[np.ndarray, "*shape"]:
    """Class ids of one scheme as those of another that can be derived from it.

    Raises:
        ArmError: the target cannot be derived from the source.
        SchemaError: an id is not in the source's scheme.
    """
    table = np.array(class_map(source, target), np.uint8)
    highest = int(ids.max(initial=0))
    if highest >= len(table):
        raise SchemaError(
            f"mask class {highest} is not in scheme {source!r}, which ends at {len(table) - 1}; "
            "name the scheme that the masks were drawn in"
        )
    return table[ids]


def resize_masks(
    masks: UInt8[np.ndarray, "T H W"], height: int, width: int
) -> UInt8[np.ndarray, "T h w"]:
    """The class at the centre of each new pixel, on the grid of `View.resize`.

    Pixel i of h samples (i + 1/2) H / h in a mask of H rows, as for images, in whole numbers: a
    centre between two pixels takes the later one on every machine.
    """
    num_rows, num_columns = masks.shape[1:]
    if (num_rows, num_columns) == (height, width):
        return masks
    rows = (2 * np.arange(height) + 1) * num_rows // (2 * height)
    columns = (2 * np.arange(width) + 1) * num_columns // (2 * width)
    return masks[:, rows[:, None], columns]


def smooth_masks(masks: UInt8[np.ndarray, "T H W"], side: int) -> UInt8[np.ndarray, "T H W"]:
    """The median class id of the `side` x `side` pixels around each pixel, mirrored at the edges.

    For schemes with ordered classes, such as scores. Equal to `scipy.ndimage.median_filter` and
    several times as fast for few classes: the median is above k where more than half of the
    pixels are.

    Raises:
        ArmError: `side` is not an odd number above 0.
    """
    if side < 1 or side % 2 == 0:
        raise ArmError(f"masks smoothed over {side} pixels; give an odd number of pixels above 0")
    num_rows, num_columns = masks.shape[1:]
    around = (side // 2, side // 2)
    padded = np.pad(masks, ((0, 0), around, around), mode="symmetric")
    medians = np.zeros_like(masks)
    for k in range(int(masks.max(initial=0))):
        above = (padded > k).astype(np.uint16)
        columns = reduce(np.add, [above[:, i : i + num_rows] for i in range(side)])
        squares = reduce(np.add, [columns[:, :, i : i + num_columns] for i in range(side)])
        medians += squares > side**2 // 2
    return medians
