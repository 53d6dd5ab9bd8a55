"""Detects whether a clip looks like ultrasound, from ten measures of its pixels.

Shapes: N frames, H rows, W columns; n, h and w of the inspected sample.
A logistic model with the constants in `FEATURES`. It was fitted on one half of the patients of
COVID-BLUES and POCUS, of phantoms, and of images that are not ultrasound: photographs (still,
moving, darkened, through a round endoscope), text, screens, noise, textures, gradients, drawn
X-rays and CT, and DICOM test images of other modalities. On the other half it accepted 50 of 50
COVID-BLUES clips, 74 of 83 POCUS clips and images, 10 of 10 phantoms, and 12 of 284 others, 7 of
which were photographs darkened to a quarter. Those phantoms had one scanner; of 80 with varied
scanners it accepts 65. The halves share no patient and no photograph, but
both are small and both were inspected when the measures were chosen.

It knows no anatomy, so ultrasound of heart or belly passes. Most false rejections are
stills with annotations and frames without a dark surround. The result is a hint and stops nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.special import expit

DESCRIPTION = (
    "A logistic model of ten measures of brightness, texture, black corners and change over time; "
    "it cannot tell lung ultrasound from other ultrasound."
)

NUM_FRAMES = 6
"""Frames inspected, spread over the clip."""
SIDE = 160
"""Pixels inspected per side."""
BLACK = 16
"""Pixels that stay darker in every frame are the surround."""
STRONG = 0.7
"""A feature is given as a reason from this contribution to the log-odds."""
MIN_SIDE = 16
MIN_LIT = 0.02
MIN_SPREAD = 1.0
"""Below this side, share of lit pixels or standard deviation of grey, nothing is inspected."""


@dataclass(frozen=True)
class Detection:
    """Whether a clip is likely ultrasound, its score from 0 to 1, and reasons against it."""

    likely: bool
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Feature:
    """Mean and spread of a measure over the fitted clips, its weight, and the reason it gives."""

    mean: float
    spread: float
    weight: float
    reason: str


FEATURES = {
    "black": Feature(0.246, 0.238, 0.76, "little of it is black, unlike the surround of a fan"),
    "corners": Feature(0.587, 0.459, 1.36, "its upper corners are not black"),
    "bright": Feature(0.373, 0.251, -1.47, "it is brighter than echoes"),
    "decay": Feature(0.373, 0.557, 0.84, "it does not get darker with depth"),
    "layers": Feature(0.201, 0.467, 1.43, "its texture is not wider than high, unlike speckle"),
    "edges": Feature(0.074, 0.195, -1.50, "it is full of hard edges, like text or noise"),
    "rough": Feature(-0.535, 0.290, 1.22, "it is smoother than speckle"),
    "white": Feature(0.110, 0.272, 0.22, "little of it is white"),
    "dark": Feature(0.399, 0.309, -0.40, "much of it is dark"),
    "change": Feature(0.528, 0.452, 1.09, "its texture does not flicker over time"),
}
INTERCEPT = -0.58


def detect_ultrasound(frames: UInt8[np.ndarray, "N H W"]) -> Detection:
    """Inspect a sample of a clip; takes a few milliseconds for any length."""
    sample = _sample(frames)
    if reason := _reason_against(sample):
        return Detection(False, 0.0, (reason,))
    parts = {
        name: FEATURES[name].weight * (value - FEATURES[name].mean) / FEATURES[name].spread
        for name, value in compute_features(sample).items()
    }
    score = float(expit(INTERCEPT + sum(parts.values())))
    if score > 0.5:
        return Detection(True, score, ())
    against = sorted((part, name) for name, part in parts.items() if part < -STRONG)
    return Detection(False, score, tuple(FEATURES[name].reason for _, name in against))


def compute_features(x: Float32[np.ndarray, "n h w"]) -> dict[str, float]:
    """The value of every feature. Grey is 0-255; steps are between neighbouring pixels.

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


def _sample(frames: UInt8[np.ndarray, "N H W"]) -> Float32[np.ndarray, "n h w"]:
    """Single pixels, because averaging would wipe out the speckle."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int))
    step = -(-max(frames.shape[1:]) // SIDE)
    return frames[chosen, ::step, ::step].astype(np.float32)


def _reason_against(x: Float32[np.ndarray, "n h w"]) -> str | None:
    if min(x.shape[1:]) < MIN_SIDE:
        return "the picture is too small or too narrow"
    if (x.max(0) >= BLACK).mean() < MIN_LIT:
        return "the picture is black"
    if x.std() < MIN_SPREAD:
        return "the picture has a single grey value"
    return None


def _steps(
    x: Float32[np.ndarray, "n h w"], lit: Bool[np.ndarray, "h w"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey differences of lit pixels to the pixel above, left, and three up and left."""
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
    """Natural logarithm of a ratio; `floor` is added to both to avoid a division by 0."""
    return math.log((over + floor) / (under + floor))
