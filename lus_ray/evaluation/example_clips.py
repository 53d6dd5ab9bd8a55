"""Test clips of the report, chosen by true score and a hash of names, not by predictions."""

from collections.abc import Sequence
from zlib import crc32

import pyarrow.compute as pc

from lus_ray.clip import Row
from lus_ray.evaluation import frame_arms, scored_arms
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ExampleClip
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.runs import predictions

NUM_CLIPS = 8
NUM_PER_SCORE = 2

LETTERS = "abcdefghi"
"""Letters of the aggregators in a timeline; one shows at most so many."""


def choose_clips(run: RunResults, arms: Arms, metrics: Sequence[str]) -> tuple[ExampleClip, ...]:
    """Up to eight test clips, two of each true score where they exist, with predicted scores.

    They are of the first fold that the best frame arm has finished; `scores` are those of the
    arms that read it. A frame arm that leaks is chosen only where there is no other.
    """
    arm = _frame_arm(run, arms, metrics)
    if arm is None:
        return ()
    fold = min(arm.cells)
    cell = arm.cells[fold]
    readers = [
        name for name, read in frame_arms.aggregators(run.record).items() if read == arm.name
    ]
    finished = {name: run.cells[name, fold] for name in readers if (name, fold) in run.cells}
    kept = dict(list(finished.items())[: len(LETTERS)])
    _, table = predictions.read(cell.path, ("clip", "patient", "severity", "split"))
    tested = table.filter(pc.equal(table["split"], "test"))
    rows = [row for row in tested.to_pylist() if row["clip"] in cell.predicted]
    return tuple(
        ExampleClip(
            clip=row["clip"],
            patient=row["patient"],
            fold=fold,
            arm=arm.name,
            severity=row["severity"],
            raters=cell.raters.get(row["clip"], ()),
            scores={name: own.predicted.get(row["clip"]) for name, own in kept.items()},
        )
        for row in _two_per_score(rows)
    )


def _frame_arm(run: RunResults, arms: Arms, metrics: Sequence[str]) -> ScoredArm | None:
    """The arm that the best aggregator reads, else the best frame arm, else any finished one."""
    finished = [arm for arm in arms.values() if arm.label == frame_arms.SEVERITY and arm.cells]
    kept = [arm for arm in finished if arm.name not in run.leaks] or finished
    names = {arm.name for arm in kept}
    aggregators = frame_arms.aggregators(run.record)
    readers = [arms[name] for name, read in aggregators.items() if read in names]
    best = scored_arms.best_arm(readers, scored_arms.first_metric(readers, metrics))
    if best is not None:
        return arms[aggregators[best.name]]
    best = scored_arms.best_arm(kept, scored_arms.first_metric(kept, metrics))
    return best or next(iter(kept), None)


def _two_per_score(rows: Sequence[Row]) -> list[Row]:
    """By true score, clips in the order of their hash, other patients first."""
    chosen: list[Row] = []
    shuffled = sorted(rows, key=lambda row: (crc32(row["clip"].encode()), row["clip"]))
    scores = sorted({row["severity"] for row in rows if row["severity"] is not None})
    for score in scores or [None]:
        own = [row for row in shuffled if row["severity"] == score]
        first = {row["patient"]: row for row in reversed(own)}.values()
        names = {row["clip"] for row in first}
        ordered = sorted(own, key=lambda row: row["clip"] not in names)
        chosen += ordered[: NUM_PER_SCORE if scores else NUM_CLIPS]
    return chosen[:NUM_CLIPS]
