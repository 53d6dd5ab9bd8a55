"""Detect text burned into pixels as brightness outside of the ultrasound fan.

Shapes: H rows, W columns of an image; h and w of its blocks.
Why no character recognition: a name in a small or unusual font is still bright where the scanner
draws no echo. The price is that a ruler, a logo or a colour bar is refused like a name.

The fan is the convex hull of the largest connected region that is bright or changes over time.
Not detected: text inside, touching or within `MARGIN` blocks of the fan, text fainter than
`CONTRAST` over the background, and a page of text alone, which passes for a fan.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

BLOCKS = 256
"""Along the long side of the image; a block has the value of its brightest pixel."""
ECHO = 4
"""Grey values over the background, or between the darkest and brightest frame, of a fan."""
CONTRAST = 48
"""Grey values over the background of text that people can read at a glance."""
MARGIN = 3
"""Blocks around the fan where compression smears its edge."""
MIN_BLOCKS = 12
"""Fewer bright blocks than this are specks, not letters."""


class Extremes:
    """Brightest and darkest value of every pixel over the frames of a clip."""

    brightest: np.ndarray | None = None
    darkest: np.ndarray | None = None

    def add(self, frame: UInt8[np.ndarray, "H W"]) -> None:
        if self.brightest is None or self.darkest is None:
            self.brightest, self.darkest = frame.copy(), frame.copy()
        else:
            np.maximum(self.brightest, frame, out=self.brightest)
            np.minimum(self.darkest, frame, out=self.darkest)


def count_bright_blocks(
    brightest: UInt8[np.ndarray, "H W"],
    darkest: UInt8[np.ndarray, "H W"],
    *,
    region: tuple[int, int, int, int] | None = None,
) -> int:
    """Number of blocks outside of the fan that are bright in some frame; 0 if these are specks.

    `region`: first row and column of the scanner's own region of echoes, and those after its last;
    nothing beyond it is fan.
    """
    height, width = brightest.shape
    block = -(-max(height, width) // BLOCKS)
    top = _pool_max(brightest, block)
    bottom = 255 - _pool_max(255 - darkest, block)
    background = int(np.bincount(top.ravel(), minlength=256).argmax())
    contrast = np.abs(top.astype(np.int16) - background)
    inside = np.zeros(top.shape, bool)
    first_row, first_column, end_row, end_column = region or (0, 0, height, width)
    inside[
        -(-first_row // block) : -(-end_row // block),
        -(-first_column // block) : -(-end_column // block),
    ] = True
    changes = top.astype(np.int16) - bottom
    fan = _fan_hull(inside & ((contrast > ECHO) | (changes > ECHO)))
    if region is not None:
        fan &= ndimage.binary_dilation(inside, iterations=1)
    num_blocks = int(((contrast > CONTRAST) & ~fan).sum())
    return num_blocks if num_blocks >= MIN_BLOCKS else 0


def _pool_max(pixels: UInt8[np.ndarray, "H W"], block: int) -> UInt8[np.ndarray, "h w"]:
    height, width = pixels.shape
    rows = np.maximum.reduceat(pixels, np.arange(0, height, block), axis=0)
    return np.maximum.reduceat(rows, np.arange(0, width, block), axis=1)


def _fan_hull(echoes: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    labels, num_parts = ndimage.label(echoes)
    if not num_parts:
        return echoes
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    rows, columns = np.nonzero(largest & ~ndimage.binary_erosion(largest))
    try:
        edges = ConvexHull(np.stack([rows, columns], 1)).equations
    except QhullError:  # a line or a point
        return ndimage.binary_dilation(largest, iterations=MARGIN)
    grid = np.indices(echoes.shape)
    hull = np.ones(echoes.shape, bool)
    for down, right, offset in edges:
        hull &= down * grid[0] + right * grid[1] + offset <= MARGIN
    return hull
