"""Whether a clip looks like ultrasound at all: ten plain measures of its pixels, weighed.

Shapes: N frames, H rows, W columns; small n, h and w of what is looked at.
A logistic model whose constants stand in `CLUES`. They were fitted on one half of the patients of
COVID-BLUES and POCUS, of phantoms, and of things that are no ultrasound: photographs, still,
moving, darkened and through a round endoscope; text, screens, noise, textures, gradients, drawn
X-rays and CT, DICOM test pictures of other modalities. On the other half: 50 of 50 COVID-BLUES
clips, 74 of 83 POCUS clips and images and 10 of 10 phantoms were taken for ultrasound, and 12 of
284 others, of which 7 were photographs darkened to a quarter. The halves share no patient and no
photograph, but these are few, and both halves were looked at when the measures were chosen.

What it does not know: anatomy. Other ultrasound, of heart or belly, passes. Stills with
annotations, and frames that fill the picture without a dark surround, are missed most. A verdict
is a hint in the answer and stops nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.special import expit

DETECTOR = (
    "A logistic model of ten measures of brightness, texture, black corners and change over time; "
    "it takes other ultrasound for lung ultrasound."
)
"""What the detector is, as the answer says it."""

NUM_FRAMES = 6
SIDE = 160
"""At most these are looked at: frames spread over the clip, pixels on a side of each."""
BLACK = 16
"""Pixels that are darker in every frame are the surround."""
STRONG = 0.7
"""Least part of the model's sum (in natural logarithms of the odds) that is given as a reason."""
MIN_SIDE = 16
MIN_LIT = 0.02
MIN_SPREAD = 1.0
"""Without so many pixels a side, such a share of lit ones, and such a standard deviation of grey,
there is nothing to look at."""


@dataclass(frozen=True)
class Verdict:
    """Whether a clip is likely ultrasound, how likely from 0 to 1, and what speaks against it."""

    likely: bool
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Clue:
    """One measure: its middle and spread over the fitted clips, its weight for one spread.

    `against` says what is odd where the measure speaks against ultrasound.
    """

    middle: float
    spread: float
    weight: float
    against: str


CLUES = {
    "black": Clue(0.246, 0.238, 0.76, "little of it is black, as the surround of a fan is"),
    "corners": Clue(0.587, 0.459, 1.36, "its upper corners are not black, as beside a sector"),
    "bright": Clue(0.373, 0.251, -1.47, "it is brighter than echoes are"),
    "decay": Clue(0.373, 0.557, 0.84, "it does not get darker with depth"),
    "layers": Clue(0.201, 0.467, 1.43, "its texture is not drawn out sideways, as speckle is"),
    "edges": Clue(0.074, 0.195, -1.50, "it is full of hard edges, as text or noise is"),
    "rough": Clue(-0.535, 0.290, 1.22, "it is smoother than speckle"),
    "white": Clue(0.110, 0.272, 0.22, "little of it is white"),
    "dark": Clue(0.399, 0.309, -0.40, "much of it is dark"),
    "change": Clue(0.528, 0.452, 1.09, "its texture does not flicker over time"),
}
OFFSET = -0.58


def looks_like_ultrasound(frames: UInt8[np.ndarray, "N H W"]) -> Verdict:
    """Judge a few frames of a clip, thinned out; takes a few milliseconds whatever its length."""
    few = _thinned(frames)
    if nothing := _nothing(few):
        return Verdict(False, 0.0, (nothing,))
    parts = {
        name: CLUES[name].weight * (value - CLUES[name].middle) / CLUES[name].spread
        for name, value in measures(few).items()
    }
    score = float(expit(OFFSET + sum(parts.values())))
    if score > 0.5:
        return Verdict(True, score, ())
    against = sorted((part, name) for name, part in parts.items() if part < -STRONG)
    return Verdict(False, score, tuple(CLUES[name].against for _, name in against))


def measures(x: Float32[np.ndarray, "n h w"]) -> dict[str, float]:
    """The value of every clue. Grey 0-255; steps are between neighbouring pixels.

    black     share of the surround
    corners   share of it in the two upper corners
    bright    mean grey of the rest, over 255
    decay     logarithm of the grey of the upper third over that of the lower
    layers    logarithm of vertical over horizontal steps: speckle is wider than high
    edges     share of steps above 60
    rough     logarithm of steps to the next pixel over those to the third next
    white     share of grey above 235
    dark      share of grey below 50
    change    steps over time against those in space
    """
    lit = ~(x.max(0) < BLACK)
    grey = x.mean(0)
    down, right, far = _steps(x, lit)
    third = max(1, len(grey) // 3)
    upper, side = lit[: max(1, len(grey) // 8)], max(1, grey.shape[1] // 8)
    corners = (upper[:, :side].mean() + upper[:, -side:].mean()) / 2
    vertical, horizontal = float(down.mean()), float(right.mean())
    change = float(np.abs(np.diff(x, axis=0))[:, lit].mean()) if len(x) > 1 else 0.0
    return {
        "black": 1 - float(lit.mean()),
        "corners": 1 - float(corners),
        "bright": float(grey[lit].mean()) / 255,
        "decay": _log_ratio(
            _mean(grey[:third], lit[:third]), _mean(grey[-third:], lit[-third:]), 8
        ),
        "layers": _log_ratio(vertical, horizontal, 1),
        "edges": float((np.maximum(down, right) > 60).mean()),
        "rough": _log_ratio(vertical, float(far.mean()), 1),
        "white": float((grey[lit] > 235).mean()),
        "dark": float((grey[lit] < 50).mean()),
        "change": math.log1p(change / (vertical + 1)),
    }


def _thinned(frames: UInt8[np.ndarray, "N H W"]) -> Float32[np.ndarray, "n h w"]:
    """Single pixels and not means of several: averaging would wipe out the speckle."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int))
    step = -(-max(frames.shape[1:]) // SIDE)
    return frames[chosen, ::step, ::step].astype(np.float32)


def _nothing(x: Float32[np.ndarray, "n h w"]) -> str | None:
    """Why there is nothing to look at, if so."""
    if min(x.shape[1:]) < MIN_SIDE:
        return "the picture is too small or too narrow to tell"
    if (x.max(0) >= BLACK).mean() < MIN_LIT:
        return "the picture is black"
    if x.std() < MIN_SPREAD:
        return "the picture is of one grey"
    return None


def _steps(
    x: Float32[np.ndarray, "n h w"], lit: Bool[np.ndarray, "h w"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey differences to the pixel above, to the left, and three up and left, among lit ones."""
    near = lit[1:, 1:] & lit[:-1, 1:] & lit[1:, :-1]
    wide = lit[3:, 3:] & lit[:-3, :-3]
    here = x[:, 1:, 1:][:, near]
    down = np.abs(here - x[:, :-1, 1:][:, near])
    right = np.abs(here - x[:, 1:, :-1][:, near])
    far = np.abs(x[:, 3:, 3:][:, wide] - x[:, :-3, :-3][:, wide])
    none = np.zeros(1, np.float32)
    if not wide.any():
        far = none
    return (down, right, far) if near.any() else (none, none, far)


def _mean(grey: Float32[np.ndarray, "h w"], lit: Bool[np.ndarray, "h w"]) -> float:
    return float(grey[lit].mean()) if lit.any() else 0.0


def _log_ratio(over: float, under: float, floor: float) -> float:
    """Natural logarithm of a ratio; `floor` is added to both, so that black is no division by 0."""
    return math.log((over + floor) / (under + floor))
