"""Frames with marks of three appearances, from three hospitals, each of which lacks one of them.

A frame is grey speckle under a bright line, which is score 0. Marks are discs below it: bright,
dark, or as grey as the rest but without speckle. Their size decides the score. A network that
trains on one hospital alone has no example of one appearance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8

HOSPITALS = ("without bright", "without dark", "without smooth")
"""`site` of a clip: the appearance that its marks never have."""

APPEARANCES = ((210.0, 30.0), (30.0, 30.0), (120.0, 0.0))
"""Grey value and standard deviation of the speckle of bright, dark and smooth marks."""

GREY, SPECKLE = 120.0, 30.0
LINE_ROWS = slice(2, 5)
RADII = (3, 5, 7)
"""Pixels of marks of the scores 1 to 3."""


def clips(
    *, patients: int, frames: int = 4, size: int = 40, shuffled: bool = False, seed: int = 0
) -> dict[str, Callable[[], dict[str, Any]]]:
    """A clip of each patient; `shuffled` gives every frame the mask of another patient."""
    return {
        f"control/p{index:03d}": partial(_make, index, frames, size, shuffled, seed)
        for index in range(patients)
    }


def _make(index: int, num_frames: int, size: int, shuffled: bool, seed: int) -> dict[str, Any]:
    missing = index % len(HOSPITALS)
    frames, masks = _draw(missing, num_frames, size, np.random.default_rng((seed, index)))
    if shuffled:
        _, masks = _draw(missing, num_frames, size, np.random.default_rng((seed, index, 1)))
    scores = [int(max(mask.max(), 1)) - 1 for mask in masks]
    return {
        "site": HOSPITALS[missing],
        "frames": frames,
        "masks": masks,
        "mask_scheme": "markers",
        "frame_severity": scores,
        "severity": max(scores),
    }


def _draw(
    missing: int, num_frames: int, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "T H W"], UInt8[np.ndarray, "T H W"]]:
    """Frames with up to two marks each, in the left and right half, and their masks."""
    present = [index for index in range(len(APPEARANCES)) if index != missing]
    rows, columns = np.mgrid[:size, :size]
    frames = rng.normal(GREY, SPECKLE, (num_frames, size, size))
    masks = np.zeros((num_frames, size, size), np.uint8)
    frames[:, LINE_ROWS] += 100
    masks[:, LINE_ROWS] = 1
    for frame, mask in zip(frames, masks, strict=True):
        for half in rng.permutation(2)[: rng.integers(3)]:
            score, appearance = int(rng.integers(1, 4)), APPEARANCES[rng.choice(present)]
            radius = RADII[score - 1]
            row = rng.uniform(LINE_ROWS.stop + radius + 1, size - radius - 1)
            column = rng.uniform(radius, size / 2 - radius) + half * size / 2
            inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
            frame[inside] = rng.normal(*appearance, inside.sum())
            mask[inside] = score + 1
    return frames.round().clip(0, 255).astype(np.uint8), masks
