"""Test clips that the report shows, chosen by their true score and a hash of their names.

No prediction enters the choice, so that the clips are representative.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import pyarrow.compute as pc

from lus_ray.evaluation import frame_arms, scored_arms
from lus_ray.evaluation.results import Run
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.runs import predictions

NUM_CLIPS = 8
NUM_PER_SCORE = 2

LETTERS = "abcdefghi"
"""Letters of the aggregators in a timeline; one shows at most so many."""


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
        chosen += ordered[: NUM_PER_SCORE if scores else NUM_CLIPS]
    return chosen[:NUM_CLIPS]
