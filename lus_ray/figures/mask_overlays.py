"""Masks over one frame, each class in its colour, and maps of uncertainty.

Shapes: H rows, W columns, K classes, h and w of a thinned-out image.
Why two columns: many panels in a row cannot be read on a phone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from lus_ray.data.masks import CLASS_COLOURS
from lus_ray.figures.attention_maps import blend_heat, hide_ticks, thin_out
from lus_ray.figures.style import render_svg, shorten

HIGHEST = 0.15
"""Upper end of the scale of uncertainty, as published (Roy et al. 2020, Figure 6)."""

LONGEST = 320
"""Longer side of an image in pixels; thin lines need more of them than attention does."""

DARKENED = 0.55
OPACITY = 0.85
COLUMNS = 2
WIDTH = 4.2
LINE = 0.2
"""Inches of the whole figure, and of one line of its legend."""


def draw_masks(
    frame: UInt8[np.ndarray, "H W"],
    *,
    masks: Sequence[tuple[str, UInt8[np.ndarray, "H W"]]],
    classes: Sequence[str],
    uncertainty: Sequence[tuple[str, Float[np.ndarray, "H W"]]] = (),
    title: str = "",
) -> str:
    """The frame, each named mask over the darkened frame, then each named map of uncertainty.

    `classes` are the K names by class id; 0 is background and stays clear. The legend names the
    classes that occur. Uncertainty is a standard deviation of probabilities, clipped at `HIGHEST`.

    Raises:
        ValueError: a mask or a map is not as large as the frame, or holds an unknown class.
    """
    for name, layer in (*masks, *uncertainty):
        if layer.shape != frame.shape:
            raise ValueError(f"{name}: {layer.shape} over a frame of {frame.shape}")
    occurring = sorted({int(k) for _, mask in masks for k in np.unique(mask)} - {0})
    if occurring and occurring[-1] >= len(classes):
        raise ValueError(f"class {occurring[-1]} of a mask is none of the {len(classes)} classes")
    num_rows, num_maps = _num_rows(1 + len(masks)), _num_rows(len(uncertainty))
    panel = WIDTH / COLUMNS * frame.shape[0] / frame.shape[1] + 0.24
    inside = (1 + len(masks)) % COLUMNS != 0 and LINE * len(occurring) < panel

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
        panels = figure.subplots(num_rows + num_maps, COLUMNS, squeeze=False)
        upper, lower = panels[:num_rows].ravel(), panels[num_rows:].ravel()
        _draw_image(upper[0], "image", blend_heat(frame, longest=LONGEST))
        for axes, (name, mask) in zip(upper[1:], masks, strict=False):
            _draw_image(axes, name, _overlay(frame, mask))
        # In steps of a hundredth, so that the scale stays a small file.
        colours = colormaps["magma"].resampled(round(100 * HIGHEST))
        for axes, (name, values) in zip(lower, uncertainty, strict=False):
            _draw_image(axes, name, thin_out(values, LONGEST), cmap=colours, vmin=0, vmax=HIGHEST)
        for spare in (*upper[1 + len(masks) :], *lower[len(uncertainty) :]):
            spare.set_axis_off()
        if uncertainty:
            _add_scale(figure, lower[0].images[0], list(lower))
        keys = [Patch(fc=_colour(k), ec="#555555", lw=0.6, label=classes[k]) for k in occurring]
        if keys and inside:
            upper[-1].legend(handles=keys, loc="center", frameon=False).set_in_layout(False)
        elif keys:
            figure.legend(handles=keys, loc="outside lower center", ncols=COLUMNS, frameon=False)

    height = (num_rows + num_maps) * panel + (0.25 if title else 0.0)
    height += 0.62 if uncertainty else 0.0
    height += 0.0 if inside else LINE * _num_rows(len(occurring)) + 0.12
    return render_svg(draw, width=WIDTH, height=height, title=title)


def _draw_image(axes: Axes, name: str, pixels: np.ndarray, **scale: Any) -> None:
    axes.imshow(pixels, interpolation="none", **scale)
    axes.set_title(shorten(name, 28), fontsize=9, pad=3)
    hide_ticks(axes)


def _add_scale(figure: Figure, image: AxesImage, beside: list[Axes]) -> None:
    bar = figure.colorbar(
        image, ax=beside, location="bottom", extend="max", aspect=30, shrink=0.8, pad=0.03
    )
    bar.set_ticks([0, 0.05, 0.1, 0.15])
    bar.set_label("uncertainty: standard deviation of the probability", fontsize=8)
    bar.ax.tick_params(labelsize=8)


def _overlay(
    frame: UInt8[np.ndarray, "H W"], mask: UInt8[np.ndarray, "H W"]
) -> Float[np.ndarray, "h w 3"]:
    thinned = thin_out(mask, LONGEST)
    image = DARKENED * blend_heat(frame, longest=LONGEST)
    for k in set(np.unique(thinned).tolist()) - {0}:
        inside = thinned == k
        image[inside] = (1 - OPACITY) * image[inside] + OPACITY * np.array(to_rgb(_colour(k)))
    return image


def _colour(k: int) -> str:
    return CLASS_COLOURS[(k - 1) % len(CLASS_COLOURS)]


def _num_rows(num_panels: int) -> int:
    return -(-num_panels // COLUMNS)
