"""Figures as SVG texts: numbers in, a picture out, no state and no files.

Why one small panel a picture: panels flow side by side on a wide screen and stand below each
other on a phone, at a size that can be read. Why no legend inside: several panels share the
colours of `LINES`, so the page shows one key for all of them.
The same numbers give the same bytes: nothing in the file tells when it was drawn.
"""

from lus_ray.figures.attention_maps import MAX_SIDE, looks
from lus_ray.figures.charts import Curve, bars, confusion, reliability, roc, training
from lus_ray.figures.mask_overlays import CLASS_COLOURS, masks
from lus_ray.figures.style import HALO, LINES, drawn, shortened
from lus_ray.figures.thumbnails import ARM, EXPERT, outlines, translations

__all__ = [
    "ARM",
    "CLASS_COLOURS",
    "EXPERT",
    "HALO",
    "LINES",
    "MAX_SIDE",
    "Curve",
    "bars",
    "confusion",
    "drawn",
    "looks",
    "masks",
    "outlines",
    "reliability",
    "roc",
    "shortened",
    "training",
    "translations",
]
