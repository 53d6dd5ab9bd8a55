"""The timeline of a test clip as SVG: frame probabilities over time, clip scores beside them.

Letters: M frames of the clip, K scores.
Why shades of one colour: they keep their order for colour-blind readers and in grey print.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lus_ray.evaluation import frame_arms
from lus_ray.evaluation.example_clips import LETTERS
from lus_ray.evaluation.results import CellResult, RunResults
from lus_ray.evaluation.schema import ExampleClip, NeutralElements
from lus_ray.figures import HALO, LINES, render_svg
from lus_ray.runs import predictions

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p")
"""Marker of each aggregator; colours are those of `LINES`, repeated."""

MAX_COLUMNS = 600
"""Columns of a heat map; frames of longer clips are averaged in groups."""

GUIDE: dict[str, Any] = {"color": "#dddddd", "lw": 1, "zorder": 0}


def draw_timelines(
    run: RunResults, clips: Sequence[ExampleClip], neutral: Sequence[NeutralElements]
) -> list[str]:
    """One SVG per clip, with the neutral elements of the uninorm arms."""
    if not clips:
        return []
    cell = run.cells[clips[0].arm, clips[0].fold]
    learned = {row.arm: row.folds.get(cell.fold) for row in neutral}
    rows = _read_frames(cell, [clip.clip for clip in clips])
    has_true_frames = run.record.supervision != "weak"
    timelines = []
    for clip in clips:
        row = rows[clip.clip]
        severity = row["frame_severity"] if has_true_frames else None
        timelines.append(
            draw_timeline(
                row["outputs"],
                fps=row["fps"],
                frame_severity=None if severity is None else np.array(severity, np.int64),
                severity=clip.severity,
                raters=clip.raters,
                scores=list(clip.scores.values()),
                neutral=[learned.get(name) for name in clip.scores],
                title=clip.clip,
            )
        )
    return timelines


def caption(clip: ExampleClip) -> str:
    """The clip, its true score, its raters, the frame model, and the score of each aggregator."""
    truth = [] if clip.severity is None else [f"true score {clip.severity}"]
    if clip.raters:
        truth.append(f"raters {', '.join(map(str, clip.raters))}")
    label = f" ({'; '.join(truth)})" if truth else " (not annotated)"
    scores = [
        f"{letter} {name} {'–' if score is None else score}"
        for letter, (name, score) in zip(LETTERS, clip.scores.items(), strict=False)
    ]
    aggregated = f". Clip scores: {', '.join(scores)}" if scores else ""
    return f"{clip.clip}{label}. Frame model {clip.arm}, fold {clip.fold}{aggregated}."


def draw_timeline(
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
    """SVG of one clip with a row per score, for at most nine aggregators.

    Left: frame probabilities, darker where higher, with the true frame scores as a step line; the
    time axis counts frames where `fps` is unknown. Middle: the true clip score, the raters, and
    the `scores` of the aggregators by letter. Right: the `neutral` elements of the aggregators that
    have them, from 0 to 1, in the row of their score.
    """
    columns = _columns(severity, raters, scores)
    learned = {n: own for n, own in enumerate(neutral) if own is not None}
    num_scores = probability.shape[1]

    def draw(figure: Figure) -> None:
        widths = [6.0]
        widths += [0.36 * sum(column.width for column in columns)] if columns else []
        widths += [1.3] if learned else []
        axes = figure.subplots(1, len(widths), sharey=True, width_ratios=widths)
        panels = iter(np.atleast_1d(axes))
        _draw_heat_map(next(panels), probability, fps, frame_severity)
        if columns:
            _draw_clip_scores(next(panels), columns, num_scores)
        if learned:
            _draw_neutral_elements(next(panels), learned, num_scores)

    return render_svg(draw, width=7.2, height=2.0, title=title)


def _read_frames(cell: CellResult, clips: Sequence[str]) -> dict[str, dict[str, Any]]:
    columns = ("clip", "split", "fps", "frame_severity", "outputs")
    _, table = predictions.read(cell.path, columns)
    named = pc.is_in(table["clip"], value_set=pa.array(clips))
    table = table.filter(pc.and_(named, pc.equal(table["split"], "test")))
    outputs, num_frames = frame_arms.read_outputs(table)
    parts = np.split(outputs, np.cumsum(num_frames)[:-1])
    rows = table.drop_columns("outputs").to_pylist()
    return {row["clip"]: {**row, "outputs": own} for row, own in zip(rows, parts, strict=True)}


@dataclass(frozen=True)
class ScoreColumn:
    """Clip scores under one title; the width is relative to that of a letter."""

    title: str
    scores: list[int]
    mark: dict[str, Any]
    width: float = 1.0


def _columns(
    severity: int | None, raters: Sequence[int], scores: Sequence[int | None]
) -> list[ScoreColumn]:
    columns = []
    if severity is not None:
        star = {"marker": "*", "s": 90, "color": "black"}
        columns.append(ScoreColumn("true", [severity], star, 1.5))
    if raters:
        rings = {"s": 14, "facecolor": "white", "edgecolor": "black", "lw": 0.9}
        columns.append(ScoreColumn("rated", list(raters), rings, 2.0))
    for number, (letter, score) in enumerate(zip(LETTERS, scores, strict=False)):
        columns.append(ScoreColumn(letter, [] if score is None else [score], _mark(number)))
    return columns


def _draw_heat_map(
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


def _draw_clip_scores(axes: Axes, columns: Sequence[ScoreColumn], num_scores: int) -> None:
    widths = np.array([column.width for column in columns])
    centres = np.cumsum(widths) - widths / 2
    for centre, column in zip(centres, columns, strict=True):
        for score in sorted(set(column.scores)):
            votes = column.scores.count(score)
            across = centre + 0.36 * (np.arange(votes) - (votes - 1) / 2)
            axes.scatter(across, [score] * votes, **column.mark)
    axes.set_xticks(centres, [column.title for column in columns])
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.hlines(np.arange(num_scores), 0, widths.sum(), **GUIDE)
    axes.set_xlim(-0.1, widths.sum() + 0.1)
    _hide_rows(axes)


def _draw_neutral_elements(
    axes: Axes, learned: dict[int, Sequence[float]], num_scores: int
) -> None:
    step = min(0.2, 0.7 / len(learned))
    for rank, (number, values) in enumerate(learned.items()):
        offset = step * (rank - (len(learned) - 1) / 2)
        mark = _mark(number) | {"s": 26 if len(learned) < 3 else 12}
        axes.scatter(values, np.arange(num_scores) + offset, **mark)
    axes.hlines(np.arange(num_scores), 0, 1, **GUIDE)
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set(xlim=(-0.12, 1.12), xlabel="neutral")
    _hide_rows(axes)


def _hide_rows(axes: Axes) -> None:
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _mark(number: int) -> dict[str, Any]:
    marker, colour = MARKERS[number % len(MARKERS)], LINES[number % len(LINES)][0]
    return {"marker": marker, "color": colour, "s": 26, "zorder": 3}
