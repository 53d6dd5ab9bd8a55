"""How far the raters of the clips agree, and where a network stands among them.

Letters: N clips that raters scored, R raters.
Why a network takes the place of each rater in turn: a rater is held against R - 1 others. Held
against all R a network would face a steadier mean than any rater does, and look better for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from lus_ray.evaluation import frame_arms, scored_arms
from lus_ray.evaluation.results import Run
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import rater_agreement

FIGURES = ("accuracy", "difference", "weighted_kappa")
"""Of one rater, or of a network in its place, against the mean of the other raters."""


def compare(
    run: Run, arms: Mapping[str, ScoredArm], metrics: Sequence[str], *, leaving_out: set[str]
) -> dict[str, Any] | None:
    """Agreement over the test clips of the run that have raters; None where none has.

    Beside the raters stand the best aggregator and the best frame arm (its mean over frames),
    best by the test patients themselves, arms in `leaving_out` aside. Where raters cannot be
    compared, `reason` says why.
    """
    given = {clip: own for cell in run.cells.values() for clip, own in cell.raters.items()}
    if not given:
        return None
    clips = sorted(given)
    sizes = sorted({len(own) for own in given.values()})
    if len(sizes) > 1 or sizes[0] < 2:
        return {
            "num_clips": len(clips),
            "reason": f"clips have between {sizes[0]} and {sizes[-1]} raters; agreement needs the "
            "same number, two or more, for every clip",
        }
    table = np.array([given[clip] for clip in clips], np.int64)
    found = rater_agreement.measure_agreement(table)
    chosen = _best(run, arms, metrics, leaving_out)
    return {
        "num_clips": found.num_clips,
        "num_raters": found.num_raters,
        "pairwise": found.pairwise,
        "modal": list(found.modal),
        "mode_ties": found.mode_ties,
        "one_against_others": [
            {figure: getattr(found.one_against_others, figure)[r] for figure in FIGURES}
            for r in range(found.num_raters)
        ],
        "arms": [
            {"name": arm.name, "kind": kind, **in_their_place(table, clips, arm)}
            for kind, arm in chosen.items()
        ],
        "reason": "",
    }


def in_their_place(
    table: Int[np.ndarray, "N R"], clips: Sequence[str], arm: ScoredArm
) -> dict[str, float]:
    """Figures of an arm in the place of each rater in turn, averaged over the raters.

    A clip that several folds test is taken from the first of them; clips that no finished fold
    tests are left out, and `num_clips` counts the others.
    """
    decided: dict[str, int] = {}
    for _, cell in sorted(arm.cells.items()):
        decided = cell.decided | decided
    kept = [row for row, clip in enumerate(clips) if clip in decided]
    if not kept:
        return {"num_clips": 0, **dict.fromkeys(FIGURES, float("nan"))}
    said = [decided[clips[row]] for row in kept]
    by_place: list[dict[str, float]] = []
    for place in range(table.shape[1]):
        swapped = table[kept]
        swapped[:, place] = said
        own = rater_agreement.measure_agreement(swapped).one_against_others
        by_place.append({figure: float(getattr(own, figure)[place]) for figure in FIGURES})
    return {
        "num_clips": len(kept),
        **{figure: float(np.mean([one[figure] for one in by_place])) for figure in FIGURES},
    }


def _best(
    run: Run, arms: Mapping[str, ScoredArm], metrics: Sequence[str], leaving_out: set[str]
) -> dict[str, ScoredArm]:
    """The best arm of each kind that has one."""
    readers = frame_arms.readers(run.experiment)
    kinds = {
        "clip score": [arms[name] for name in readers if name not in leaving_out],
        "mean of frame scores": [
            arm
            for arm in arms.values()
            if arm.label == frame_arms.LABEL and arm.name not in leaving_out
        ],
    }
    best = {
        kind: scored_arms.best(peers, scored_arms.first_metric(peers, metrics))
        for kind, peers in kinds.items()
    }
    return {kind: arm for kind, arm in best.items() if arm is not None}
