"""Figures as SVG texts: numbers in, a picture out, no state and no files.

Letters: K classes, M points of a curve, H rows, W columns.
Why one small panel a picture: panels flow side by side on a wide screen and stand below each
other on a phone, at a size that can be read. Why no legend inside: several panels share the
colours of `LINES`, so the page shows one key for all of them.
The same numbers give the same bytes: nothing in the file tells when it was drawn.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import patheffects, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lus_ray.metrics.calibration import Reliability

LINES = (
    ("#0072b2", ""),
    ("#d55e00", "6 2"),
    ("#009e73", "2 2"),
    ("#cc79a7", "8 2 2 2"),
    ("#56708a", "4 1"),
    ("#b8860b", "1 1"),
)
"""Colour and dash pattern of each curve; told apart without colour too."""

HALO = [patheffects.withStroke(linewidth=3.4, foreground="white")]
"""A light edge that keeps a line visible on a dark picture."""

MAX_SIDE = 256
"""Longer side of a picture in pixels; larger frames are thinned out."""

STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lus_ray",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.6,
}

Curve = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""Across and up, M values each; curves of one panel may differ in M."""


def confusion(counts: Float[np.ndarray, "K K"], classes: Sequence[str], *, title: str) -> str:
    """Confusion matrix: shade is the share of the true class (row), text the number of clips.

    Columns are in the order of the rows; long names stand at the rows only, with their place.
    """
    num_classes = len(counts)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    short = max(map(len, classes), default=0) <= 8
    rows = (
        list(classes) if short else [f"{shortened(n, 22)}  {k}" for k, n in enumerate(classes, 1)]
    )
    columns = list(classes) if short else [str(k) for k in range(1, num_classes + 1)]

    def draw(axes: Axes) -> None:
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        for row, column in np.ndindex(num_classes, num_classes):
            colour = "white" if share[row, column] > 0.55 else "#222222"
            axes.text(
                column + 0.5, row + 0.5, f"{counts[row, column]:.0f}",
                ha="center", va="center", color=colour, fontsize=8,
            )  # fmt: skip
        axes.set_xticks(np.arange(num_classes) + 0.5, columns)
        axes.set_yticks(np.arange(num_classes) + 0.5, rows)
        axes.tick_params(length=0, labelsize=8)
        axes.invert_yaxis()
        axes.set_aspect("equal" if short else "auto")
        axes.set(xlabel="predicted", ylabel="true")

    return _panel(draw, width=3.6, height=3.2, title=title)


def roc(curves: Sequence[Curve], *, title: str) -> str:
    """ROC curves in the order of `LINES`; the diagonal is guessing."""

    def draw(axes: Axes) -> None:
        _diagonal(axes)
        for number, (false, true) in enumerate(curves):
            axes.plot(false, true, **_line(number))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")

    return _panel(draw, width=2.9, height=2.9, title=title)


def reliability(curves: Sequence[Reliability | None], *, title: str) -> str:
    """Share that was right against confidence, in the order of `LINES`; the diagonal is honest.

    The area of a dot grows with the number of predictions behind it. An arm
    without predictions keeps its colour and has no curve.
    """

    def draw(axes: Axes) -> None:
        _diagonal(axes)
        for number, curve in enumerate(curves):
            if curve is not None:
                axes.plot(curve.confidence, curve.correct, alpha=0.6, **_line(number))
                area = 4 + 80 * curve.number / curve.number.sum()
                axes.scatter(curve.confidence, curve.correct, area, LINES[number % len(LINES)][0])
        axes.set(xlabel="confidence", ylabel="share that was right")

    return _panel(draw, width=2.9, height=2.9, title=title)


def training(
    folds: Mapping[int, Mapping[str, Sequence[float]]], *, left: str, right: str, title: str
) -> str:
    """Two quantities by epoch, one line a fold: `left` solid and `right` dashed, own axes."""

    def draw(axes: Axes) -> None:
        twin = axes.twinx()
        twin.spines["right"].set_visible(True)
        for number, (_, columns) in enumerate(sorted(folds.items())):
            colour = LINES[number % len(LINES)][0]
            for ax, name, style in ((axes, left, "-"), (twin, right, "--")):
                values = columns.get(name, ())
                ax.plot(np.arange(1, len(values) + 1), values, style, color=colour, lw=1.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch")
        axes.set_ylabel(f"{left.replace('_', ' ')} (solid)")
        twin.set_ylabel(f"{right.replace('_', ' ')} (dashed)")

    return _panel(draw, width=3.6, height=2.7, title=title)


def bars(values: Mapping[str, float], *, label: str) -> str:
    """Horizontal bars, the first on top, each with its value."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(values))
        axes.barh(places, list(values.values()), color=LINES[0][0], height=0.65)
        axes.set_yticks(places, [shortened(name, 34) for name in values])
        for place, value in zip(places, values.values(), strict=True):
            axes.annotate(
                f"{value:.3g}", (value, place), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.15)
        axes.set(xlabel=label)

    return _panel(draw, width=6.4, height=0.7 + 0.26 * len(values))


def looks(
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
        axes.imshow(_blended(frame, heat), extent=(0, 1, 1, 0), interpolation="none")
        outlines = [np.asarray(quad, float) for quad in quads]
        if box is not None:
            left, top, right, bottom = box
            outlines.append(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
        for number, corners in enumerate(outlines):
            closed = np.vstack([corners, corners[:1]])
            axes.plot(closed[:, 0], closed[:, 1], path_effects=HALO, **_line(number))
        axes.set(xlim=(-0.05, 1.05), ylim=(1.05, -0.05), aspect=height / width)
        _bare(axes)
        for number, crop in enumerate(crops):
            beside = figure.add_subplot(grid[number, 1])
            beside.imshow(_blended(crop, None), interpolation="none")
            beside.set_aspect("equal")
            _bare(beside, **_line(number))

    ratios = [len(crops), 1] if crops else [1]
    return drawn(draw, width=2.9 + (1.5 if crops else 0.0), height=2.9, title=title)


def drawn(draw: Callable[[Figure], None], *, width: float, height: float, title: str = "") -> str:
    """SVG of a figure of a size in inches."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        if title:
            figure.suptitle(shortened(title, int(13 * width)), fontsize=9)
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    text = written.getvalue()
    return _numbered(text[text.index("<svg") :])


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip(" ,") + "…"


def _panel(draw: Callable[[Axes], None], *, width: float, height: float, title: str = "") -> str:
    """SVG of one panel of a size in inches."""
    return drawn(lambda figure: draw(figure.add_subplot()), width=width, height=height, title=title)


def _numbered(svg: str) -> str:
    """The SVG with its identifiers counted from 0.

    Matplotlib hashes places for them, and the last bits of a place that the layout solver finds
    differ from one drawing to the next.
    """
    found = dict.fromkeys(re.findall(r'id="([a-z]+[0-9a-f]{10})"', svg))
    numbers = {name: f"i{number}" for number, name in enumerate(found)}
    return re.sub(r"\b[a-z]+[0-9a-f]{10}\b", lambda match: numbers.get(match[0], match[0]), svg)


def _blended(
    frame: UInt8[np.ndarray, "H W"], heat: Float[np.ndarray, "H W"] | None
) -> Float[np.ndarray, "h w 3"]:
    """The frame in grey with the heat over it in one colour, at most `MAX_SIDE` pixels long."""
    every = -(-max(frame.shape) // MAX_SIDE)
    grey = np.repeat(frame[::every, ::every, None] / 255.0, 3, axis=2)
    if heat is None:
        return grey
    opacity = 0.65 * np.clip(heat[::every, ::every, None], 0, 1)
    return (1 - opacity) * grey + opacity * np.array(to_rgb(LINES[1][0]))


def _bare(axes: Axes, **frame: Any) -> None:
    """No ticks; a frame around it where it is given, nothing else."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(bool(frame))
        if frame:
            spine.set(lw=2.2, **frame)


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _line(number: int) -> dict[str, Any]:
    colour, dashes = LINES[number % len(LINES)]
    style = (0, tuple(float(d) for d in dashes.split())) if dashes else "-"
    return {"color": colour, "linestyle": style}
