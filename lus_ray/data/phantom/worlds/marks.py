"""Frames whose score is the brightness of a small mark, with clutter elsewhere.

A disc at the left is darker or brighter than the noise about it, the more so the lower or higher
the score, and moves from frame to frame. The edge of the first crop of Reg-STN goes through it. At
the top each patient has spots of their own, brighter than the mark, which say nothing of the score.
All frames of a patient have one score, so that a network may learn patients by their spots instead.
Letters: T frames, H rows, W columns. Points (x, y) run from -1 (left, top) to 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.errors import InputError

CONTRAST = (-1.0, -0.4, 0.4, 1.0)
"""Of each score, as a share of the largest."""

BASE, NOISE, GRAIN = 0.5, 0.3, 1.5
"""Grey of the background; noise of single pixels, and by how many pixels it is smoothed. A crop can
follow smooth noise: that of single pixels hides which way it has to move."""

MARK, SPREAD = 0.12, 0.05
"""Largest contrast of a mark, and of a score that is spread over the picture."""

CENTRE, REACH, RADIUS = (-0.2, 0.3), (0.12, 0.1), 0.2
"""Mean place of the mark, how far it moves either way, and its radius."""

SPOTS, SPOT_RADIUS, SPOT = 8, 0.1, 0.5
LOWEST_SPOT = -0.65
"""Number, radius and contrast of a patient's spots, and the lowest place of their centres."""

LEAST_SIZE = 32


def clips(
    *, patients: int = 48, frames: int = 48, size: int = 48, spread: bool = False, seed: int = 0
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip a patient; `masks` is the mark, with the class of its score.

    `spread`: the whole picture has the brightness of the score, and there are no spots.

    Raises:
        InputError: an option is out of its range.
    """
    if size < LEAST_SIZE:
        raise InputError(f"world marks: --size is {size}; use {LEAST_SIZE} or more")
    make = partial(_make, frames=frames, size=size, spread=spread, seed=seed)
    return {_name(index): partial(make, index) for index in range(patients)}


def _name(index: int) -> str:
    return f"control/marks{index:04d}"


def _make(index: int, *, frames: int, size: int, spread: bool, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, index])
    score = index % NUM_SEVERITIES
    background = np.full((size, size), BASE) + (0 if spread else _draw_spots(size, rng))
    centres = np.array(CENTRE) + rng.uniform(-1, 1, (frames, 2)) * REACH
    distance = np.stack([_distance(size, *centre) for centre in centres]) / RADIUS
    shape = np.ones_like(distance) if spread else np.exp(-(distance**2) / 2)
    signal = shape * CONTRAST[score] * (SPREAD if spread else MARK)
    noise = rng.normal(0, NOISE, distance.shape)
    grey = background + signal + gaussian_filter(noise, (0, GRAIN, GRAIN), mode="wrap")
    marked = np.ones_like(distance, bool) if spread else distance <= 1
    return {
        "severity": score,
        "frame_severity": [score] * frames,
        "frames": np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8),
        "masks": np.where(marked, score + 1, 0).astype(np.uint8),
        "mask_scheme": "markers",
    }


def _draw_spots(size: int, rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    image = np.zeros((size, size))
    for _ in range(SPOTS):
        distance = _distance(size, rng.uniform(-0.9, 0.9), rng.uniform(-0.92, LOWEST_SPOT))
        image += rng.choice((-SPOT, SPOT)) * np.exp(-((distance / SPOT_RADIUS) ** 2))
    return image


def _distance(size: int, x: float, y: float) -> Float[np.ndarray, "H W"]:
    """Of the centre of each pixel from a point."""
    places = (np.arange(size) + 0.5) / size * 2 - 1
    return np.hypot(places - x, places[:, None] - y)
