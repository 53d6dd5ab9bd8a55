"""Frames with bright streaks, of which only those below a broken pleural line are B-lines.

The pleural line of one half of a frame is whole, of the other broken; the lung below looks the
same. Streaks look alike everywhere. Below the broken line they are B-lines, below the whole line
clutter, which dense masks call healthy region and sparse masks background. Without `clutter` every
streak lies below the broken line.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lus_ray.data.phantom.worlds.areas import CLASS, draw_speckle

PLEURA = 6
"""First row below the pleural line."""


def clips(
    *,
    patients: int = 60,
    frames: int = 1,
    size: int = 32,
    clutter: bool = True,
    shuffled: bool = False,
    seed: int = 0,
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip of each patient; with `shuffled`, its masks are those of other frames."""
    return {
        f"control/{number:03d}": partial(_make_clip, number, frames, size, clutter, shuffled, seed)
        for number in range(patients)
    }


def _make_clip(
    number: int, num_frames: int, size: int, clutter: bool, shuffled: bool, seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    frames, masks = zip(*(_draw_frame(size, clutter, rng) for _ in range(num_frames)), strict=True)
    if shuffled:
        _, masks = zip(*(_draw_frame(size, clutter, rng) for _ in range(num_frames)), strict=True)
    return {
        "severity": number % 4,
        "frames": np.stack(frames),
        "masks": np.stack(masks),
        "mask_scheme": "dense",
    }


def _draw_frame(
    size: int, clutter: bool, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
    """A frame and its dense mask."""
    row, column = np.mgrid[:size, :size]
    half = column >= size // 2
    unhealthy = half if rng.random() < 0.5 else ~half
    grey = 0.35 + 0.1 * draw_speckle(size, 0.7, rng)
    mask = np.where(unhealthy, CLASS["unhealthy region"], CLASS["healthy region"])
    mask[:PLEURA] = CLASS["background"]
    for is_sick in (True, False):
        for _ in range(rng.integers(1, 3) if is_sick or clutter else 0):
            centre = rng.choice(column[0, 2:-2][unhealthy[0, 2:-2] == is_sick])
            streak = (abs(column - centre) <= 1) & (row > PLEURA)
            grey[streak] += 0.25
            mask[streak & unhealthy] = CLASS["B-line"]
    line = np.s_[PLEURA - 2 : PLEURA, :]
    grey[line] = np.where(unhealthy & (column % 4 < 2), 0.35, 0.9)[line]
    mask[line] = np.where(unhealthy, CLASS["unhealthy pleura"], CLASS["healthy pleura"])[line]
    if rng.random() < 0.5:
        a_line = rng.integers(2 * PLEURA, size - 1)
        grey[a_line] = 0.75
        mask[a_line] = CLASS["A-line"]
    return np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8), mask.astype(np.uint8)
