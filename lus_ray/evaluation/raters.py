"""How far the raters of the clips agree, and how well arms agree with them.

Shapes: N clips with raters, R raters.
Why an arm takes the place of each rater in turn: the mean of all R raters is steadier than that of
R - 1, so an arm compared with it would look better than any rater can.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from lus_ray.evaluation import frame_arms, scored_arms
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ArmAmongRaters, RaterComparison, RaterScores
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.metrics import rater_agreement

SCORES = ("accuracy", "difference", "weighted_kappa")


def compare(run: RunResults, arms: Arms, metrics: Sequence[str]) -> RaterComparison | None:
    """Agreement over the test clips that have raters; None where there are none.

    Beside the raters stand the best arm of each kind, not counting arms that leak: aggregators and
    frame arms (by the mean over frames), or networks of clips and experts on predictions of an
    earlier arm. The test patients themselves decide which is the best.
    """
    scores = {clip: own for cell in run.cells.values() for clip, own in cell.raters.items()}
    if not scores:
        return None
    clips = sorted(scores)
    sizes = sorted({len(own) for own in scores.values()})
    if len(sizes) > 1 or sizes[0] < 2:
        return RaterComparison(
            num_clips=len(clips),
            reason=f"clips have between {sizes[0]} and {sizes[-1]} raters; agreement needs the "
            "same number, two or more, for every clip",
        )
    table = np.array([scores[clip] for clip in clips], np.int64)
    agreement = rater_agreement.measure_agreement(table)
    return RaterComparison(
        num_clips=agreement.num_clips,
        num_raters=agreement.num_raters,
        pairwise=agreement.pairwise,
        modal=tuple(agreement.modal.tolist()),
        mode_ties=agreement.mode_ties,
        one_against_others=tuple(
            RaterScores(**_scores_of(agreement, rater)) for rater in range(agreement.num_raters)
        ),
        arms=tuple(
            score_among_raters(table, clips, arm, kind=kind)
            for kind, arm in _best_arms(run, arms, metrics).items()
        ),
    )


def score_among_raters(
    table: Int[np.ndarray, "N R"], clips: Sequence[str], arm: ScoredArm, *, kind: str
) -> ArmAmongRaters:
    """Scores of an arm in the place of each rater in turn, averaged over raters and seeds.

    The first fold that tests a clip predicts it; clips that no finished fold tests are left out,
    and `num_clips` counts the others.
    """
    by_seed: dict[int, dict[str, int]] = {}
    for _, cell in sorted(arm.cells.items()):
        for seed, own in cell.by_seed.items():
            by_seed[seed] = own.predicted | by_seed.get(seed, {})
    known = set().union(*by_seed.values())
    kept = [row for row, clip in enumerate(clips) if clip in known]
    by_rater: list[dict[str, float]] = []
    for predicted in by_seed.values():
        rows = [row for row in kept if clips[row] in predicted]
        for rater in range(table.shape[1] if rows else 0):
            swapped = table[rows]
            swapped[:, rater] = [predicted[clips[row]] for row in rows]
            by_rater.append(_scores_of(rater_agreement.measure_agreement(swapped), rater))
    means = {s: float(np.mean([own[s] for own in by_rater])) if kept else None for s in SCORES}
    return ArmAmongRaters(name=arm.name, kind=kind, num_clips=len(kept), **means)


def _scores_of(agreement: rater_agreement.Agreement, rater: int) -> dict[str, float]:
    scores = agreement.one_against_others
    return {name: float(getattr(scores, name)[rater]) for name in SCORES}


def _best_arms(run: RunResults, arms: Arms, metrics: Sequence[str]) -> dict[str, ScoredArm]:
    aggregators = frame_arms.aggregators(run.record)
    clean = [arm for arm in arms.values() if arm.name not in run.leaks]
    of_clips = [
        (arm, run.record.arm(arm.name))
        for arm in clean
        if arm.label == "severity" and arm.name not in aggregators and not arm.baseline
    ]
    kinds = {
        "clip network": [arm for arm, entry in of_clips if entry.recipe],
        "expert": [arm for arm, entry in of_clips if entry.kind],
        "clip score": [arm for arm in clean if arm.name in aggregators],
        "mean of frame scores": [arm for arm in clean if arm.label == frame_arms.SEVERITY],
    }
    best = {
        kind: scored_arms.best_arm(peers, scored_arms.first_metric(peers, metrics))
        for kind, peers in kinds.items()
    }
    return {kind: arm for kind, arm in best.items() if arm is not None}
