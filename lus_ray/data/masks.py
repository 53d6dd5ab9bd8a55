"""Masks: from one scheme of classes to another, from one size to another, and smoothed.

Letters: T frames, H rows, W columns; h and w after resizing.
Sources: Gare 2021, where dense labels collapse to sparse ones for the comparison: both pleurae are
one class and the regions below them are background. Dense predictions are collapsed alike. Roy
2020, whose released evaluation smooths the masks of its experts.
"""

from functools import reduce

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import MASK_SCHEMES
from lus_ray.errors import ArmError, SchemaError

DERIVED: dict[tuple[str, str], tuple[str, ...]] = {
    ("dense", "sparse"): (
        "background",
        "A-line",
        "B-line",
        "pleura",
        "pleura",
        "background",
        "background",
    ),
    ("dense", "bline"): ("background", "background", "B-line", *["background"] * 4),
    ("sparse", "bline"): ("background", "background", "B-line", "background"),
}
"""(source, target) -> class in the target of each class of the source. A pair is here only where
every class of the source lies within one class of the target: the marker of a score is not told
apart into B-lines and the rest, so ("markers", "bline") is not."""


def class_map(source: str, target: str) -> tuple[int, ...]:
    """Target class id of each source class id; a scheme maps to itself.

    Raises:
        ArmError: the target cannot be derived from the source; the message names what can.
    """
    if source == target and source in MASK_SCHEMES:
        return tuple(range(len(MASK_SCHEMES[source])))
    if (source, target) not in DERIVED:
        pairs = ", ".join(f"{a} to {b}" for a, b in DERIVED)
        raise ArmError(f"masks cannot be turned from {source!r} to {target!r}; there is {pairs}")
    return tuple(map(MASK_SCHEMES[target].index, DERIVED[source, target]))


def to_sparse(dense: UInt8[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Sparse class ids of dense ones.

    Raises:
        SchemaError: an id is not in the dense scheme.
    """
    return convert_masks(dense, "dense", "sparse")


def convert_masks(
    ids: UInt8[np.ndarray, "*shape"], source: str, target: str
) -> UInt8[np.ndarray, "*shape"]:
    """Class ids of one scheme as those of another, which it holds without loss.

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
    """The class at the centre of each new pixel, on the grid on which `View.resize` puts frames.

    Pixel i of h looks at (i + 1/2) H / h in a mask of H rows, as images do. The sum is done in
    whole numbers, so that a centre between two pixels takes the later one on every machine.
    """
    num_rows, num_columns = masks.shape[1:]
    if (num_rows, num_columns) == (height, width):
        return masks
    rows = (2 * np.arange(height) + 1) * num_rows // (2 * height)
    columns = (2 * np.arange(width) + 1) * num_columns // (2 * width)
    return masks[:, rows[:, None], columns]


def smooth_masks(masks: UInt8[np.ndarray, "T H W"], side: int) -> UInt8[np.ndarray, "T H W"]:
    """The median class id of the `side` x `side` pixels around each pixel, mirrored at the edges.

    For schemes whose order means something, such as scores. Equal to `scipy.ndimage.median_filter`
    and several times as fast, as few ids make it few sums: the median is above k where more than
    half of the pixels are.

    Raises:
        ArmError: `side` is no odd number above 0.
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
