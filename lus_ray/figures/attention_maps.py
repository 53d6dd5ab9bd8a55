"""Attention of a network on one frame.

Shapes: H rows, W columns, h and w of a thinned-out image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lus_ray.figures.style import HALO, LINES, line_style, render_svg

MAX_SIDE = 256
"""Longer side of an image in pixels; larger frames are thinned out."""


def draw_attention(
    frame: UInt8[np.ndarray, "H W"],
    *,
    quads: Sequence[Float[np.ndarray, "4 2"]] = (),
    heat: Float[np.ndarray, "H W"] | None = None,
    box: tuple[float, float, float, float] | None = None,
    crops: Sequence[UInt8[np.ndarray, "_ _"]] = (),
    title: str,
) -> str:
    """A frame with the regions that a network attended to.

    `quads` are corners (x, y) in drawing order and `box` is (left, top, right, bottom), both in
    fractions of the frame with (0, 0) top left; the axes end a little beyond the frame. `heat` in
    [0, 1] is laid over the frame. `crops` stand beside it, each in the line style of its
    quadrilateral; a box has the next style.
    """
    height, width = frame.shape

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.07, h_pad=0.07)
        grid = figure.add_gridspec(max(1, len(crops)), 2 if crops else 1, width_ratios=ratios)
        axes = figure.add_subplot(grid[:, 0])
        axes.set_facecolor("#e8e8e8")
        axes.imshow(blend_heat(frame, heat), extent=(0, 1, 1, 0), interpolation="none")
        polygons = [np.asarray(quad, float) for quad in quads]
        if box is not None:
            left, top, right, bottom = box
            polygons.append(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
        for number, corners in enumerate(polygons):
            closed = np.vstack([corners, corners[:1]])
            axes.plot(closed[:, 0], closed[:, 1], path_effects=HALO, **line_style(number))
        axes.set(xlim=(-0.05, 1.05), ylim=(1.05, -0.05), aspect=height / width)
        hide_ticks(axes)
        for number, crop in enumerate(crops):
            beside = figure.add_subplot(grid[number, 1])
            beside.imshow(blend_heat(crop), interpolation="none")
            beside.set_aspect("equal")
            hide_ticks(beside, **line_style(number))

    ratios = [len(crops), 1] if crops else [1]
    return render_svg(draw, width=2.9 + (1.5 if crops else 0.0), height=2.9, title=title)


def blend_heat(
    frame: UInt8[np.ndarray, "H W"],
    heat: Float[np.ndarray, "H W"] | None = None,
    *,
    longest: int = MAX_SIDE,
) -> Float[np.ndarray, "h w 3"]:
    """The grey frame under the heat in one colour, its longer side at most `longest` pixels."""
    grey = np.repeat(thin_out(frame, longest)[..., None] / 255.0, 3, axis=2)
    if heat is None:
        return grey
    opacity = 0.65 * np.clip(thin_out(heat, longest)[..., None], 0, 1)
    return (1 - opacity) * grey + opacity * np.array(to_rgb(LINES[1][0]))


def thin_out(layer: Real[np.ndarray, "H W"], longest: int) -> Real[np.ndarray, "h w"]:
    """Every n-th row and column, so that the longer side is at most `longest` pixels."""
    stride = -(-max(layer.shape) // longest)
    return layer[::stride, ::stride]


def hide_ticks(axes: Axes, **frame: Any) -> None:
    """Remove ticks and spines; `frame` is the style of visible spines."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(bool(frame))
        if frame:
            spine.set(lw=2.2, **frame)
