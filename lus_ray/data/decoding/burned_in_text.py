"""Text that is burned into pixels, found as brightness outside of the fan; nothing is read.

Shapes: H rows, W columns of one picture; small h and w of its blocks.
Why no recognition of letters: a name in a small or unusual font is still bright where the scanner
draws no echo. The price is that a ruler, a logo or a colour bar is refused like a name.

What is taken for the fan is the convex hull of the largest connected thing that is bright or that
changes over time. What this cannot see: text inside the fan or touching it, text within
`MARGIN` blocks of it, text fainter than `CONTRAST` over the background, and a page of text alone,
whose largest thing is taken for a fan. Header fields are another matter, see `dicom_header.py`.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

BLOCKS = 256
"""Along the long side of what is looked at; the brightest pixel speaks for its block."""
ECHO = 4
"""Grey values over the background, or between darkest and brightest moment, of a fan."""
CONTRAST = 48
"""Grey values over the background of writing that people can read at a glance."""
MARGIN = 3
"""Blocks around the fan where compression smears its edge."""
MIN_BLOCKS = 12
"""Fewer bright blocks than this are specks and not letters."""


class Extremes:
    """Brightest and darkest value of every pixel over the frames of a clip."""

    def __init__(self) -> None:
        self.brightest: np.ndarray | None = None
        self.darkest: np.ndarray | None = None

    def add(self, frame: UInt8[np.ndarray, "H W"]) -> None:
        """Take one more frame into account, of the size of those before."""
        if self.brightest is None or self.darkest is None:
            self.brightest, self.darkest = frame.copy(), frame.copy()
        else:
            np.maximum(self.brightest, frame, out=self.brightest)
            np.minimum(self.darkest, frame, out=self.darkest)


def outside_fan(
    brightest: UInt8[np.ndarray, "H W"],
    darkest: UInt8[np.ndarray, "H W"],
    *,
    region: tuple[int, int, int, int] | None = None,
) -> int:
    """Number of blocks outside of the fan that are bright at some moment; 0 if these are specks.

    `region` holds the first row and column of the scanner's own region of echoes, and those after
    its last: what lies beyond is never fan.
    """
    height, width = brightest.shape
    block = -(-max(height, width) // BLOCKS)
    top = _pooled(brightest, block)
    bottom = 255 - _pooled(255 - darkest, block)
    background = int(np.bincount(top.ravel(), minlength=256).argmax())
    contrast = np.abs(top.astype(np.int16) - background)
    inside = np.zeros(top.shape, bool)
    first_row, first_column, end_row, end_column = region or (0, 0, height, width)
    inside[
        -(-first_row // block) : -(-end_row // block),
        -(-first_column // block) : -(-end_column // block),
    ] = True
    changes = top.astype(np.int16) - bottom
    fan = _fan(inside & ((contrast > ECHO) | (changes > ECHO)))
    if region is not None:
        fan &= ndimage.binary_dilation(inside, iterations=1)
    num_blocks = int(((contrast > CONTRAST) & ~fan).sum())
    return num_blocks if num_blocks >= MIN_BLOCKS else 0


def _pooled(pixels: UInt8[np.ndarray, "H W"], block: int) -> UInt8[np.ndarray, "h w"]:
    """The brightest pixel of every square of `block` pixels; the last ones may be cut."""
    height, width = pixels.shape
    rows = np.maximum.reduceat(pixels, np.arange(0, height, block), axis=0)
    return np.maximum.reduceat(rows, np.arange(0, width, block), axis=1)


def _fan(echoes: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The convex hull, with a margin, of the largest connected part."""
    labels, num_parts = ndimage.label(echoes)
    if not num_parts:
        return echoes
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    rows, columns = np.nonzero(largest & ~ndimage.binary_erosion(largest))
    try:
        sides = ConvexHull(np.stack([rows, columns], 1)).equations
    except QhullError:  # a line or a point
        return ndimage.binary_dilation(largest, iterations=MARGIN)
    grid = np.indices(echoes.shape)
    hull = np.ones(echoes.shape, bool)
    for down, right, offset in sides:
        hull &= down * grid[0] + right * grid[1] + offset <= MARGIN
    return hull
