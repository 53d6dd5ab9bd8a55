"""Clips drawn as strips: frame probabilities over time and the clip scores made of them.

Letters: M frames of a clip, K scores.
The clips are chosen by a hash of their names and their true score alone, never by whether an arm
is right about them.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.evaluation import frame_arms, scored_arms
from lus_ray.evaluation.results import Cell, Run
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.report.clip_timeline import LETTERS, strip
from lus_ray.runs import predictions

NUM_CLIPS = 8
NUM_OF_A_SCORE = 2


def choose(
    run: Run, arms: Mapping[str, ScoredArm], metrics: Sequence[str], *, leaving_out: set[str]
) -> list[dict[str, Any]]:
    """Up to eight test clips, two of each true score where they exist, and who said what of them.

    Of the first fold that the best frame arm has finished; `scores` are those of the arms that
    read it. A frame arm in `leaving_out` is drawn only where there is no other.
    """
    arm = _frame_arm(run, arms, metrics, leaving_out)
    if arm is None:
        return []
    fold = min(arm.cells)
    cell = arm.cells[fold]
    readers = [
        name for name, read in frame_arms.readers(run.experiment).items() if read == arm.name
    ]
    finished = {name: run.cells[name, fold] for name in readers if (name, fold) in run.cells}
    kept = dict(list(finished.items())[: len(LETTERS)])
    _, table = predictions.read(cell.path, ("clip", "patient", "severity", "split"))
    tested = table.filter(pc.equal(table["split"], "test"))
    rows = [row for row in tested.to_pylist() if row["clip"] in cell.decided]
    return [
        {
            "clip": row["clip"],
            "patient": row["patient"],
            "fold": fold,
            "arm": arm.name,
            "severity": row["severity"],
            "raters": list(cell.raters.get(row["clip"], ())),
            "scores": {name: own.decided.get(row["clip"]) for name, own in kept.items()},
        }
        for row in _two_of_each(rows)
    ]


def draw(
    run: Run, chosen: Sequence[Mapping[str, Any]], neutral: Sequence[Mapping[str, Any]]
) -> list[str]:
    """One SVG a chosen clip, in order; `neutral` as `uninorm_elements.compare` gives it."""
    if not chosen:
        return []
    cell = run.cells[chosen[0]["arm"], chosen[0]["fold"]]
    learned = {row["arm"]: row["folds"].get(str(cell.fold)) for row in neutral}
    rows = _rows(cell, [fact["clip"] for fact in chosen])
    true_frames = run.experiment.get("supervision") != "weak"
    return [_strip(fact, rows[fact["clip"]], learned, true_frames) for fact in chosen]


def caption(fact: Mapping[str, Any]) -> str:
    """The clip, its true score and its raters, the frame arm, and the score of each aggregator."""
    known = [] if fact["severity"] is None else [f"true score {fact['severity']}"]
    if fact["raters"]:
        known.append(f"raters {', '.join(map(str, fact['raters']))}")
    truth = f" ({'; '.join(known)})" if known else " (not annotated)"
    scores = [
        f"{letter} {name} {'–' if score is None else score}"
        for letter, (name, score) in zip(LETTERS, fact["scores"].items(), strict=False)
    ]
    aggregated = f". Clip scores: {', '.join(scores)}" if scores else ""
    return f"{fact['clip']}{truth}. Frame model {fact['arm']}, fold {fact['fold']}{aggregated}."


def _strip(
    fact: Mapping[str, Any],
    row: Mapping[str, Any],
    learned: Mapping[str, Sequence[float] | None],
    true_frames: bool,
) -> str:
    severity = row["frame_severity"] if true_frames else None
    return strip(
        row["outputs"],
        fps=row["fps"],
        frame_severity=None if severity is None else np.array(severity, np.int64),
        severity=fact["severity"],
        raters=fact["raters"],
        scores=list(fact["scores"].values()),
        neutral=[learned.get(name) for name in fact["scores"]],
        title=fact["clip"],
    )


def _rows(cell: Cell, clips: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Frames of the named clips; `outputs` as arrays (M, K)."""
    columns = ("clip", "split", "fps", "frame_severity", "outputs")
    _, table = predictions.read(cell.path, columns)
    named = pc.is_in(table["clip"], value_set=pa.array(clips))
    table = table.filter(pc.and_(named, pc.equal(table["split"], "test")))
    outputs, num_frames = frame_arms.outputs(table)
    parts = np.split(outputs, np.cumsum(num_frames)[:-1])
    rows = table.drop_columns("outputs").to_pylist()
    return {row["clip"]: {**row, "outputs": own} for row, own in zip(rows, parts, strict=True)}


def _frame_arm(
    run: Run, arms: Mapping[str, ScoredArm], metrics: Sequence[str], leaving_out: set[str]
) -> ScoredArm | None:
    """The arm that the best aggregator reads, else the best frame arm, else any finished one."""
    finished = [arm for arm in arms.values() if arm.label == frame_arms.LABEL and arm.cells]
    kept = [arm for arm in finished if arm.name not in leaving_out] or finished
    readers = frame_arms.readers(run.experiment)
    of_these = {arm.name for arm in kept}
    peers = [arms[name] for name, read in readers.items() if read in of_these]
    if (best := scored_arms.best(peers, scored_arms.first_metric(peers, metrics))) is not None:
        return arms[readers[best.name]]
    return scored_arms.best(kept, scored_arms.first_metric(kept, metrics)) or next(iter(kept), None)


def _two_of_each(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By true score, clips in the order of their hash, other patients first."""
    chosen: list[dict[str, Any]] = []
    shuffled = sorted(rows, key=lambda row: (crc32(row["clip"].encode()), row["clip"]))
    scores = sorted({row["severity"] for row in rows if row["severity"] is not None})
    for score in scores or [None]:
        own = [row for row in shuffled if row["severity"] == score]
        first = {row["patient"]: row for row in reversed(own)}.values()
        names = {row["clip"] for row in first}
        ordered = [r for r in own if r["clip"] in names] + [
            r for r in own if r["clip"] not in names
        ]
        chosen += ordered[: NUM_OF_A_SCORE if scores else NUM_CLIPS]
    return chosen[:NUM_CLIPS]
