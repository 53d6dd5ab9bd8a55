"""Charts: confusion matrices and curves.

Shapes: K classes, T thresholds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lus_ray.figures.style import LINES, line_style, render_svg, shorten
from lus_ray.metrics.calibration import Reliability

Curve = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""x and y values; the curves of a chart may differ in length."""


def draw_confusion(
    counts: Float[np.ndarray, "K K"], classes: Sequence[str], *, title: str, percent: bool = False
) -> str:
    """Confusion matrix: shade is the share of the true class (row), text the number of clips.

    Columns are in the order of the rows; long names stand at the rows only, with their number.
    With `percent`, for pixels, the text is that share too, names stand at both sides, and the row
    of an absent class is empty.
    """
    num_classes = len(counts)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    short = percent or max(map(len, classes), default=0) <= 8
    rows = list(classes) if short else [f"{shorten(n, 22)}  {k}" for k, n in enumerate(classes, 1)]
    columns = list(classes) if short else [str(k) for k in range(1, num_classes + 1)]
    size = 7 if percent else 8

    def draw(axes: Axes) -> None:
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        for row, column in np.ndindex(num_classes, num_classes):
            colour = "white" if share[row, column] > 0.55 else "#222222"
            text = f"{counts[row, column]:.0f}"
            if percent:
                text = f"{100 * share[row, column]:.1f}" if total[row, 0] else ""
            centre = (column + 0.5, row + 0.5)
            axes.text(*centre, text, ha="center", va="center", color=colour, fontsize=size)
        turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(np.arange(num_classes) + 0.5, columns, **(turned if percent else {}))
        axes.set_yticks(np.arange(num_classes) + 0.5, rows)
        axes.tick_params(length=0, labelsize=8)
        axes.invert_yaxis()
        axes.set_aspect("equal" if short and not percent else "auto")
        axes.set(xlabel="predicted", ylabel="true")

    return _panel(draw, width=3.6, height=3.2, title=title)


def draw_roc(curves: Sequence[Curve], *, title: str) -> str:
    """ROC curves in the order of `LINES`; the diagonal is chance."""

    def draw(axes: Axes) -> None:
        _diagonal(axes)
        for number, (false, true) in enumerate(curves):
            axes.plot(false, true, **line_style(number))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")

    return _panel(draw, width=2.9, height=2.9, title=title)


def draw_reliability(curves: Sequence[Reliability | None], *, title: str) -> str:
    """Accuracy by confidence, in the order of `LINES`; the diagonal is perfect calibration.

    The area of a dot grows with its number of predictions. An arm without predictions keeps its
    colour and has no curve.
    """

    def draw(axes: Axes) -> None:
        _diagonal(axes)
        for number, curve in enumerate(curves):
            if curve is not None:
                axes.plot(curve.confidence, curve.correct, alpha=0.6, **line_style(number))
                area = 4 + 80 * curve.number / curve.number.sum()
                axes.scatter(curve.confidence, curve.correct, area, LINES[number % len(LINES)][0])
        axes.set(xlabel="confidence", ylabel="accuracy")

    return _panel(draw, width=2.9, height=2.9, title=title)


def draw_net_benefit(
    thresholds: Float[np.ndarray, "T"],
    curves: Sequence[Float[np.ndarray, "3 T"]],
    treat_all: Float[np.ndarray, "T"],
    *,
    title: str,
) -> str:
    """Decision curves (value, low, high) in the order of `LINES`, each with its band.

    The grey line is acting on all clips, the line at 0 acting on none.
    """

    def draw(axes: Axes) -> None:
        top = max([0.02, treat_all[0], *(np.nanmax(value) for value, _, _ in curves)])
        axes.axhline(0, color="#bbbbbb", lw=1)
        axes.plot(thresholds, treat_all, color="#888888", lw=1)
        for number, (value, low, high) in enumerate(curves):
            colour = LINES[number % len(LINES)][0]
            axes.fill_between(thresholds, low, high, color=colour, alpha=0.1, lw=0)
            axes.plot(thresholds, value, **line_style(number))
        axes.set(xlim=(0, 1), ylim=(-0.15 * top, 1.1 * top))
        axes.set(xlabel="probability that leads to action", ylabel="net benefit")

    return _panel(draw, width=3.6, height=2.7, title=title)


def draw_training(
    folds: Mapping[int, Mapping[str, Sequence[float]]], *, left: str, right: str, title: str
) -> str:
    """Two quantities by epoch, one line per fold: `left` solid and `right` dashed, on two axes.

    A quantity that is never finite has no axis.
    """

    def draw(axes: Axes) -> None:
        lines = [(axes, left, "-", "solid")]
        if any(np.isfinite(columns.get(right, ())).any() for columns in folds.values()):
            twin = axes.twinx()
            twin.spines["right"].set_visible(True)
            lines.append((twin, right, "--", "dashed"))
        for ax, name, style, word in lines:
            for number, (_, columns) in enumerate(sorted(folds.items())):
                values = columns.get(name, ())
                colour = LINES[number % len(LINES)][0]
                ax.plot(np.arange(1, len(values) + 1), values, style, color=colour, lw=1.3)
            ax.set_ylabel(f"{name.replace('_', ' ')} ({word})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch")

    return _panel(draw, width=3.6, height=2.7, title=title)


def _panel(draw: Callable[[Axes], None], *, width: float, height: float, title: str = "") -> str:
    return render_svg(
        lambda figure: draw(figure.add_subplot()), width=width, height=height, title=title
    )


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
