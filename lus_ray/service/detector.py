"""Whether a clip looks like ultrasound at all: a dark surround and a bright, speckled middle.

Letters: N frames, H rows, W columns.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

DETECTOR = "A rule on the dark surround and the grey levels of a few frames; it knows no anatomy."
"""What the detector is, as the answer says it."""

DARK = 12
LEAST_DARK, MOST_DARK = 0.12, 0.92
"""Grey below which a pixel is black, and the shares of black pixels of an ultrasound picture."""


@dataclass(frozen=True)
class Verdict:
    """Whether a clip is likely ultrasound, from 0 to 1 how sure that is, what speaks against."""

    likely: bool
    score: float
    reasons: tuple[str, ...]


def looks_like_ultrasound(frames: UInt8[np.ndarray, "N H W"]) -> Verdict:
    """What a few frames of a clip say, thinned out to at most 128 pixels a side."""
    step = max(1, max(frames.shape[1:]) // 128)
    few = frames[:: max(1, len(frames) // 8), ::step, ::step]
    dark = float((few < DARK).mean())
    reasons = []
    if dark < LEAST_DARK:
        reasons.append("hardly any of the picture is black, as the surround of a fan is")
    if dark > MOST_DARK:
        reasons.append("nearly all of the picture is black")
    return Verdict(not reasons, 0.2 if reasons else 0.8, tuple(reasons))
