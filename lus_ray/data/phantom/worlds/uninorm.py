"""Frames that show the probabilities of their scores, and a clip score that a known rule draws.

A frame is four grey squares, one for each score; a score's probability is its share of the grey, as
the task `GreyPatches` reads it. The clip score follows a uninorm with the neutral elements
`NEUTRAL`, or is that of the worst frame.
Letters: M frames, K scores.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.errors import InputError

NEUTRAL = (0.15, 0.35, 0.2, 0.3)
"""Neutral elements; frames lie around them, where they make a difference. Their sum is 1."""

RULES = ("uninorm", "worst frame")
FRAMES = (3, 10)
"""Fewest and most frames of a clip: more would make every clip certain, whatever the element."""

SHARPNESS = 40.0
"""Factor on U in the softmax that the score is drawn from: about 16 % are not the highest U."""
CONCENTRATION = 20.0
"""Of the Dirichlet distribution of frames."""

WORST_SHARES = (0.72, 0.16, 0.08, 0.04)
"""Frames of each score where the worst one decides; each gives its score about `CERTAINTY`."""
CERTAINTY = 0.6

WHITE = 250
SQUARE = 4
"""Pixels."""


def clips(
    *, patients: int = 1200, rule: str = "uninorm", seed: int = 0
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip a patient; `rule` is the "uninorm" or the "worst frame".

    Raises:
        InputError: there is no such rule.
    """
    if rule not in RULES:
        raise InputError(f"world uninorm: --rule is {rule!r}; use one of {', '.join(RULES)}")
    names = (f"control/uninorm{index:04d}" for index in range(patients))
    return {name: partial(_make, n, rule=rule, seed=seed) for n, name in enumerate(names)}


def _make(index: int, *, rule: str, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, index])
    greys = sample_greys(rule, rng)
    shares = greys / greys.sum(axis=1, keepdims=True)
    predicted = shares.argmax(axis=1)
    if rule == "uninorm":
        noise = rng.gumbel(size=NUM_SEVERITIES)  # the highest is a draw from the softmax
        severity = int((SHARPNESS * aggregate(shares) + noise).argmax())
    else:
        severity = int(predicted.max())
    return {"severity": severity, "frame_severity": predicted.tolist(), "frames": draw(greys)}


def sample_greys(rule: str, rng: np.random.Generator) -> UInt8[np.ndarray, "M K"]:
    """The grey of each score in each frame, at least 1."""
    num_frames = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    centres = np.tile(np.array(NEUTRAL), (num_frames, 1))
    if rule != "uninorm":
        scores = rng.choice(NUM_SEVERITIES, num_frames, p=WORST_SHARES)
        centres = np.full_like(centres, (1 - CERTAINTY) / (NUM_SEVERITIES - 1))
        centres[np.arange(num_frames), scores] = CERTAINTY
    shares = np.stack([rng.dirichlet(CONCENTRATION * centre) for centre in centres])
    return np.maximum(1, np.round(WHITE * shares)).astype(np.uint8)


def aggregate(shares: Float[np.ndarray, "M K"]) -> Float[np.ndarray, "K"]:
    """The product uninorm of each score by its definition, frame after frame.

    Written apart from `lus_ray.nets.uninorm`, which it tests.
    """
    result = shares[0]
    e = np.array(NEUTRAL)
    for frame in shares[1:]:
        t_norm = result * frame / e
        t_conorm = 1 - (1 - result) * (1 - frame) / (1 - e)
        low, high = np.minimum(result, frame), np.maximum(result, frame)
        result = np.where(high < e, t_norm, np.where(low >= e, t_conorm, low))
    return result


def draw(greys: UInt8[np.ndarray, "M K"]) -> UInt8[np.ndarray, "M H W"]:
    """Frames of two by two squares: scores 0 and 1 above 2 and 3."""
    return greys.reshape(-1, 2, 2).repeat(SQUARE, axis=1).repeat(SQUARE, axis=2)
