"""How far raters of the same clips agree, and how many of them gave the same score.

Letters: N clips, R raters, V distinct scores. A score is a whole number from 0.
Why one against the others: it measures raters as networks are measured, by agreement with the
rest. Published agreement is a ceiling for networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lus_ray.metrics import classification


@dataclass(frozen=True)
class OneAgainstOthers:
    """Each rater against the mean score of the other raters of the clip.

    `accuracy` is the share of clips where the rater equals that mean, rounded with halves up;
    `weighted_kappa` is between the same two, NaN where all their scores are equal;
    `difference` is the mean absolute difference to that mean, not rounded, in scores.
    """

    accuracy: Float[np.ndarray, "R"]
    difference: Float[np.ndarray, "R"]
    weighted_kappa: Float[np.ndarray, "R"]


@dataclass(frozen=True)
class Agreement:
    """Agreement of `num_raters` raters over `num_clips` clips, as fractions of 1.

    `pairwise` is the share of equal scores, averaged over the pairs of raters (Roy 2020 reports
    about 67 %); `modal[a - 1]` is the share of clips whose modal score has at least `a` votes;
    `mode_ties` is the share of clips where two scores have the most votes.
    """

    num_clips: int
    num_raters: int
    one_against_others: OneAgainstOthers
    pairwise: float
    modal: Float[np.ndarray, "R"]
    mode_ties: float


def measure_agreement(raters: Int[np.ndarray, "N R"]) -> Agreement:
    """Agreement of at least two raters, a column each, who all scored the same clips.

    Raises:
        ValueError: there is no clip or only one rater, or a score is below 0.
    """
    num_clips, num_raters = raters.shape
    if num_clips == 0 or num_raters < 2:
        raise ValueError(
            f"{num_raters} raters of {num_clips} clips; agreement needs two raters and a clip"
        )
    if raters.min() < 0:
        raise ValueError(f"a rater gave {raters.min()}; scores start at 0")
    votes = _votes(raters)
    most = votes.max(axis=1)
    equal_pairs = (votes * (votes - 1)).sum() / (num_raters * (num_raters - 1))
    return Agreement(
        num_clips,
        num_raters,
        _one_against_others(raters.astype(np.int64)),
        pairwise=float(equal_pairs / num_clips),
        modal=(most[:, None] >= np.arange(1, num_raters + 1)).mean(axis=0),
        mode_ties=float(((votes == most[:, None]).sum(axis=1) > 1).mean()),
    )


def count_mode_votes(raters: Int[np.ndarray, "N R"]) -> Int[np.ndarray, "N"]:
    """How many raters of a clip gave its modal score.

    Raises:
        ValueError: there is no clip or no rater.
    """
    if raters.size == 0:
        raise ValueError("no clip or no rater; a mode needs one of each")
    return _votes(raters).max(axis=1)


def rater_table(raters: Sequence[Sequence[int] | None]) -> Int[np.ndarray, "N R"]:
    """The scores of the clips that have raters, in order; null or an empty list is not rated.

    Raises:
        ValueError: no clip has raters, or two clips have unequal numbers of them.
    """
    rated = {clip: scores for clip, scores in enumerate(raters) if scores}
    if not rated:
        raise ValueError("no clip has raters")
    first = next(iter(rated))
    for clip, scores in rated.items():
        if len(scores) != len(rated[first]):
            raise ValueError(
                f"clip {first} has {len(rated[first])} raters and clip {clip} has {len(scores)} "
                "(clips counted from 0); votes need one number of raters"
            )
    return np.array(list(rated.values()), dtype=np.int64)


def _one_against_others(raters: Int[np.ndarray, "N R"]) -> OneAgainstOthers:
    num_others = raters.shape[1] - 1
    total = raters.sum(axis=1, keepdims=True) - raters
    rounded = (2 * total + num_others) // (2 * num_others)  # halves go up, in whole numbers
    num_scores = int(raters.max()) + 1
    kappas = [
        classification.weighted_kappa(classification.confusion(theirs, own, num_classes=num_scores))
        for theirs, own in zip(rounded.T, raters.T, strict=True)
    ]
    return OneAgainstOthers(
        (raters == rounded).mean(axis=0),
        np.abs(raters - total / num_others).mean(axis=0),
        np.array(kappas),
    )


def _votes(raters: Int[np.ndarray, "N R"]) -> Int[np.ndarray, "N V"]:
    return (raters[:, :, None] == np.unique(raters)).sum(axis=1)
