"""What a published protocol that leaks promises too much, against its leak-free twin."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lus_ray.report import differences, rows
from lus_ray.report.numbers import ScoredArm
from lus_ray.report.protocols import IMAGES

OWN_FOLDS = "each arm is the mean over its own folds, which test different images"


def measure(
    gap: Mapping[str, Any],
    arms: Mapping[str, ScoredArm],
    metrics: Sequence[str],
    *,
    leaks: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    """The gap with its differences by metric, leaky minus clean, paired over patients.

    Where the leaky arm dealt images to its folds, no fold has a twin and `note` says what is
    compared. Where nothing can be compared, `reason` says why and there are no differences.
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
    by_image = IMAGES in leaks.get(leaky.name, ()) and IMAGES not in leaks.get(clean.name, ())
    compare = differences.difference_of_means if by_image else differences.difference
    found = {m: rows.told(compare(leaky, clean, m)) for m in metrics if m in known}
    undefined = all(math.isnan(one["value"]) for one in found.values())
    reasons = [one["reason"] for one in found.values() if "reason" in one]
    return silent | {
        "label": leaky.label,
        "num_patients": len(clean.patients & leaky.patients),
        "differences": found,
        "reason": reasons[0] if reasons and undefined else "",
        **({"note": OWN_FOLDS} if by_image else {}),
    }
