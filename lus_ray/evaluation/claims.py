"""Claims of the paper, held against the run.

A claim is reproduced where its difference is above 0 and the paired interval over patients
excludes 0. It cannot be tested where an arm is absent or unfinished or the metric is undefined:
half a result is no verdict.
"""

import math
from collections.abc import Mapping
from typing import Any

from lus_ray.evaluation import comparisons
from lus_ray.evaluation.scored_arms import ScoredArm

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNTESTED = "cannot be tested with this data"


def verdict(claim: Mapping[str, Any], arms: Mapping[str, ScoredArm]) -> dict[str, Any]:
    """The claim with its verdict, and the difference or the reason behind it."""
    silent = {**claim, "verdict": UNTESTED, "reason": ""}
    for name in (claim["better"], claim["than"]):
        if name not in arms:
            return silent | {"reason": f"there is no arm {name!r} in this run"}
        if arms[name].missing:
            unfinished = ", ".join(map(str, arms[name].missing))
            return silent | {"reason": f"{name}: fold {unfinished} is not finished"}
    found = comparisons.difference(arms[claim["better"]], arms[claim["than"]], claim["metric"])
    if math.isnan(found.value) or math.isnan(found.interval.low):
        return silent | {"reason": found.reason}
    if skipped := [fold for fold in arms[claim["better"]].planned if fold not in found.folds]:
        why = f"{claim['metric']} is undefined in fold {', '.join(map(str, skipped))}"
        return silent | {"reason": why}
    reproduced = found.value > 0 and found.interval.excludes_zero()
    return silent | {
        "verdict": REPRODUCED if reproduced else NOT_REPRODUCED,
        "difference": found.value,
        "interval": [found.interval.low, found.interval.high],
        "num_patients": len(arms[claim["better"]].behind(claim["metric"])),
    }
