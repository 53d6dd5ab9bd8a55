"""SVG figures from numbers: no state, no files, the same numbers give the same bytes.

Why one small panel per figure: panels flow side by side on a wide screen and stack on a phone.
Why no legend inside: several panels share the colours of `LINES`, so the page shows one key.
"""

from lus_ray.figures.attention_maps import draw_attention
from lus_ray.figures.charts import (
    Curve,
    draw_confusion,
    draw_net_benefit,
    draw_reliability,
    draw_roc,
    draw_training,
)
from lus_ray.figures.mask_overlays import CLASS_COLOURS, draw_masks
from lus_ray.figures.style import HALO, LINES, render_svg, shorten
from lus_ray.figures.thumbnails import ARM, EXPERT, draw_image_rows, draw_segmentations

__all__ = [
    "ARM",
    "CLASS_COLOURS",
    "EXPERT",
    "HALO",
    "LINES",
    "Curve",
    "draw_attention",
    "draw_confusion",
    "draw_image_rows",
    "draw_masks",
    "draw_net_benefit",
    "draw_reliability",
    "draw_roc",
    "draw_segmentations",
    "draw_training",
    "render_svg",
    "shorten",
]
