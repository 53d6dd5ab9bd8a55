"""Frames whose disease is the share of unhealthy lung, which the sparse classes do not name.

Below a bright pleural line lies lung in square patches, healthy or unhealthy: speckle of the same
brightness and strength, fine or coarse. The share of unhealthy patches decides the disease: below
a third healthy, up to two thirds another pneumonia, above COVID-19. A-lines and B-lines come by
chance. Dense masks name the patches; in sparse ones they are background.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter

from lus_ray.clip import MASK_SCHEMES

CLASS = {name: number for number, name in enumerate(MASK_SCHEMES["dense"])}
PATCH = 8
"""Side of a patch in pixels."""

DISEASES = (("healthy", None), ("other lung disease", "bacterial"), ("COVID-19 pneumonia", None))
"""Disease and etiology of the three classes of a diagnosis."""

SHARES = ((0.0, 0.25), (0.42, 0.58), (0.75, 1.0))
"""Shares of unhealthy patches of each disease; the gaps make the diagnosis certain."""


def clips(
    *, patients: int = 90, frames: int = 2, size: int = 40, related: bool = True, seed: int = 0
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip of each patient; with `related` false, another patient's share decides."""
    return {
        f"control/{number:03d}": partial(_make_clip, number, frames, size, related, seed)
        for number in range(patients)
    }


def _make_clip(number: int, num_frames: int, size: int, related: bool, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    kind = number % len(DISEASES)
    disease, etiology = DISEASES[kind]
    share = rng.uniform(*SHARES[kind if related else rng.integers(len(SHARES))])
    frames, masks = zip(*(_draw_frame(share, size, rng) for _ in range(num_frames)), strict=True)
    return {
        "disease": disease,
        "etiology": etiology,
        "severity": kind,
        "frames": np.stack(frames),
        "masks": np.stack(masks),
        "mask_scheme": "dense",
    }


def _draw_frame(
    share: float, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
    """A frame and its dense mask."""
    cells = size // PATCH
    sick = np.zeros((cells - 1) * cells, bool)  # the first row of patches is the chest wall
    sick[: round(share * len(sick))] = True
    patches = rng.permutation(sick).reshape(cells - 1, cells)
    unhealthy = np.zeros((size, size), bool)
    unhealthy[PATCH : cells * PATCH, : cells * PATCH] = patches.repeat(PATCH, 0).repeat(PATCH, 1)
    grey = 0.4 + 0.12 * np.where(
        unhealthy, draw_speckle(size, 1.6, rng), draw_speckle(size, 0.4, rng)
    )
    mask = np.where(unhealthy, CLASS["unhealthy region"], CLASS["healthy region"])
    mask[:PATCH] = CLASS["background"]
    pleura = "unhealthy pleura" if rng.random() < 0.5 else "healthy pleura"
    for name, where, level in (
        ("A-line", np.s_[rng.integers(2 * PATCH, size - 1), :], 0.8),
        ("B-line", np.s_[PATCH:, rng.integers(1, size - 1)], 0.8),
        (pleura, np.s_[PATCH - 1 : PATCH + 1, :], 0.9),
    ):
        if "pleura" in name or rng.random() < 0.5:
            grey[where], mask[where] = level, CLASS[name]
    return np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8), mask.astype(np.uint8)


def draw_speckle(size: int, grain: float, rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Standardised noise; a larger `grain` makes it coarser."""
    noise = gaussian_filter(rng.standard_normal((size, size)), grain)
    return (noise - noise.mean()) / noise.std()
