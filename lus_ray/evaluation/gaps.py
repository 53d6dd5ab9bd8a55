"""What a published protocol that leaks promises too much, against its leak-free twin."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lus_ray.evaluation import arm_rows, comparisons, mask_arms
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.folds import Fold

OWN_FOLDS = (
    "each arm is the mean over its own folds, which test different {unit}; a part of it is that "
    "the first learns from {leaky:.0f} % of the {unit} and the second from those of {clean:.0f} % "
    "of the patients{more}"
)
COPIES = ", another that the first is tested on mirrored, dimmed and brightened copies too"


def measure(
    gap: Mapping[str, Any],
    arms: Mapping[str, ScoredArm],
    metrics: Sequence[str],
    *,
    folds: Collection[Fold],
    at_random: Collection[str],
) -> dict[str, Any]:
    """The gap with its differences by metric, leaky minus clean, paired over patients.

    `at_random` are the arms whose images or clips were dealt to the folds at random. Where the
    leaky arm is one of them, no fold has a twin; `note` says what is compared, and what beside the
    leak tells the two apart. Where nothing can be compared, `reason` says why and there are no
    differences.
    """
    silent = {**gap, "label": None, "num_patients": 0, "differences": {}, "reason": ""}
    for name in (gap["leaky"], gap["clean"]):
        if name not in arms:
            return silent | {"reason": f"there is no arm {name!r} in this run"}
    leaky, clean = arms[gap["leaky"]], arms[gap["clean"]]
    if leaky.label != clean.label:
        return silent | {"reason": f"{leaky.name} and {clean.name} predict different labels"}
    if unfinished := [arm.name for arm in (leaky, clean) if not arm.cells]:
        return silent | {"label": leaky.label, "reason": f"{unfinished[0]}: no fold is finished"}
    known = {name for scores in clean.scores.values() for name in scores.values}
    apart = leaky.name in at_random and clean.name not in at_random
    compare = comparisons.difference_of_means if apart else comparisons.difference
    found = {m: arm_rows.told(compare(leaky, clean, m)) for m in metrics if m in known}
    undefined = all(math.isnan(one["value"]) for one in found.values())
    reasons = [one["reason"] for one in found.values() if "reason" in one]
    return silent | {
        "label": leaky.label,
        "num_patients": len(clean.patients & leaky.patients),
        "differences": found,
        "reason": reasons[0] if reasons and undefined else "",
        **({"note": _note(leaky.label, folds)} if apart else {}),
    }


def _note(label: str | None, folds: Collection[Fold]) -> str:
    """What else differs: each fold of k at random trains on all but its part of k."""
    outlined = mask_arms.scheme_of(label) is not None
    return OWN_FOLDS.format(
        unit="images" if outlined else "clips",
        leaky=100 * (1 - 1 / len(folds)),
        clean=100 * np.mean(list(map(_training, folds))),
        more=COPIES if outlined else "",
    )


def _training(fold: Fold) -> float:
    """The share of its patients on which a fold trains."""
    return len(fold.train) / (len(fold.train) + len(fold.val) + len(fold.test))
