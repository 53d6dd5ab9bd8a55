"""Pictures of one frame: where a network looked.

Letters: H rows, W columns, h and w the same of a picture that was thinned out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lus_ray.figures.style import HALO, LINES, line_style, render_svg

MAX_SIDE = 256
"""Longer side of a picture in pixels; larger frames are thinned out."""


def draw_attention(
    frame: UInt8[np.ndarray, "H W"],
    *,
    quads: Sequence[Float[np.ndarray, "4 2"]] = (),
    heat: Float[np.ndarray, "H W"] | None = None,
    box: tuple[float, float, float, float] | None = None,
    crops: Sequence[UInt8[np.ndarray, "_ _"]] = (),
    title: str,
) -> str:
    """Where a network looked on one frame.

    `quads` are corners (x, y) in drawing order and `box` is (left, top, right, bottom), both in
    fractions of the picture with (0, 0) top left; what lies outside is cut a little beyond the
    edge. `heat` in [0, 1] is laid over the frame. `crops` stand beside the frame, each framed in
    the colour and the dashes of its quadrilateral; a box takes those that come next.
    """
    height, width = frame.shape

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.07, h_pad=0.07)
        grid = figure.add_gridspec(max(1, len(crops)), 2 if crops else 1, width_ratios=ratios)
        axes = figure.add_subplot(grid[:, 0])
        axes.set_facecolor("#e8e8e8")
        axes.imshow(blend_heat(frame, heat), extent=(0, 1, 1, 0), interpolation="none")
        outlines = [np.asarray(quad, float) for quad in quads]
        if box is not None:
            left, top, right, bottom = box
            outlines.append(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
        for number, corners in enumerate(outlines):
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
    """The frame in grey with the heat over it in one colour, its longer side at most `longest`."""
    every = -(-max(frame.shape) // longest)
    grey = np.repeat(frame[::every, ::every, None] / 255.0, 3, axis=2)
    if heat is None:
        return grey
    opacity = 0.65 * np.clip(heat[::every, ::every, None], 0, 1)
    return (1 - opacity) * grey + opacity * np.array(to_rgb(LINES[1][0]))


def hide_ticks(axes: Axes, **frame: Any) -> None:
    """No ticks; a frame around it where it is given, nothing else."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(bool(frame))
        if frame:
            spine.set(lw=2.2, **frame)
