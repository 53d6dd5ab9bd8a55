"""The drawing of one clip as a strip: frame probabilities over time, clip scores beside them.

Letters: M frames of the clip, K scores.
Why shades of one colour: they keep their order for every eye and in grey print.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lus_ray.figures import HALO, LINES, drawn

LETTERS = "abcdefghi"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p")
"""Letter and mark of each aggregator; colours are those of `LINES`, from the start again."""

MAX_COLUMNS = 600
"""A heat band has at most so many columns; frames of longer clips are averaged in groups."""

GUIDE: dict[str, Any] = {"color": "#dddddd", "lw": 1, "zorder": 0}


def strip(
    probability: Float[np.ndarray, "M K"],
    *,
    fps: float | None = None,
    frame_severity: Int[np.ndarray, "M"] | None = None,
    severity: int | None = None,
    raters: Sequence[int] = (),
    scores: Sequence[int | None] = (),
    neutral: Sequence[Sequence[float] | None] = (),
    title: str = "",
) -> str:
    """SVG of one clip, one row a score; at most nine aggregators.

    Left, the darker the more probable, with the true frame scores as a step line; time is in
    frames where `fps` is unknown. Middle, the true clip score, the raters, and the `scores` of
    aggregators by letter. Right, where one has them, the `neutral` elements of each aggregator
    from 0 to 1 in the row of their score.
    """
    columns = _columns(severity, raters, scores)
    learned = {n: own for n, own in enumerate(neutral) if own is not None}
    num_scores = probability.shape[1]

    def draw(figure: Figure) -> None:
        widths = [6.0]
        if columns:
            widths.append(0.36 * sum(column.width for column in columns))
        if learned:
            widths.append(1.3)
        panels = iter(
            np.atleast_1d(figure.subplots(1, len(widths), sharey=True, width_ratios=widths))
        )
        _heat_band(next(panels), probability, fps, frame_severity)
        if columns:
            _clip_scores(next(panels), columns, num_scores)
        if learned:
            _neutral_elements(next(panels), learned, num_scores)

    return drawn(draw, width=7.2, height=2.0, title=title)


@dataclass(frozen=True)
class Column:
    """Clip scores under one title; the width is relative to that of a letter."""

    title: str
    scores: list[int]
    mark: dict[str, Any]
    width: float = 1.0


def _columns(
    severity: int | None, raters: Sequence[int], scores: Sequence[int | None]
) -> list[Column]:
    """The truth and the raters where they are known, then the aggregators."""
    found = []
    if severity is not None:
        found.append(Column("true", [severity], {"marker": "*", "s": 90, "color": "black"}, 1.5))
    if raters:
        rings = {"s": 14, "facecolor": "white", "edgecolor": "black", "lw": 0.9}
        found.append(Column("rated", list(raters), rings, 2.0))
    for number, (letter, score) in enumerate(zip(LETTERS, scores, strict=False)):
        found.append(Column(letter, [] if score is None else [score], _mark(number)))
    return found


def _heat_band(
    axes: Axes,
    probability: Float[np.ndarray, "M K"],
    fps: float | None,
    frame_severity: Int[np.ndarray, "M"] | None,
) -> None:
    num_frames, num_scores = probability.shape
    frame_s = 1 / fps if fps else 1.0
    starts = np.arange(0, num_frames, -(-num_frames // MAX_COLUMNS))
    sizes = np.diff(np.append(starts, num_frames))
    shown = np.add.reduceat(probability, starts, axis=0) / sizes[:, None]
    axes.imshow(
        shown.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="none",
        extent=(0, num_frames * frame_s, -0.5, num_scores - 0.5),
    )  # fmt: skip
    axes.hlines(np.arange(num_scores - 1) + 0.5, 0, num_frames * frame_s, color="white", lw=2)
    if frame_severity is not None:
        edges = np.arange(num_frames + 1) * frame_s
        values = np.append(frame_severity, frame_severity[-1])
        axes.step(edges, values, where="post", color=LINES[1][0], path_effects=HALO)
    axes.set_yticks(np.arange(num_scores))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=not fps))
    axes.set(ylabel="score", xlabel="time, s" if fps else "frame", xlim=(0, num_frames * frame_s))


def _clip_scores(axes: Axes, columns: Sequence[Column], num_scores: int) -> None:
    """Marks of one column that share a score stand side by side."""
    widths = np.array([column.width for column in columns])
    places = np.cumsum(widths) - widths / 2
    for place, column in zip(places, columns, strict=True):
        for score in sorted(set(column.scores)):
            votes = column.scores.count(score)
            across = place + 0.36 * (np.arange(votes) - (votes - 1) / 2)
            axes.scatter(across, [score] * votes, **column.mark)
    axes.set_xticks(places, [column.title for column in columns])
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.hlines(np.arange(num_scores), 0, widths.sum(), **GUIDE)
    axes.set_xlim(-0.1, widths.sum() + 0.1)
    _without_rows(axes)


def _neutral_elements(axes: Axes, learned: dict[int, Sequence[float]], num_scores: int) -> None:
    step = min(0.2, 0.7 / len(learned))
    for place, (number, own) in enumerate(learned.items()):
        offset = step * (place - (len(learned) - 1) / 2)
        mark = _mark(number) | {"s": 26 if len(learned) < 3 else 12}
        axes.scatter(own, np.arange(num_scores) + offset, **mark)
    axes.hlines(np.arange(num_scores), 0, 1, **GUIDE)
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set(xlim=(-0.12, 1.12), xlabel="neutral")
    _without_rows(axes)


def _without_rows(axes: Axes) -> None:
    """The rows are named at the band."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _mark(number: int) -> dict[str, Any]:
    marker, colour = MARKERS[number % len(MARKERS)], LINES[number % len(LINES)][0]
    return {"marker": marker, "color": colour, "s": 26, "zorder": 3}
