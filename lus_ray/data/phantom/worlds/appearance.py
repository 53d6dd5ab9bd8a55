"""Two domains with the same anatomy, which differ in their machine or in their masks.

A frame shows lung tissue below a bright pleural line, and one to three B-lines: bright bands from
the pleura to the bottom. Their area is the mask. The machine of domain "B" fades with depth and
bends the greys, so that a deep B-line is as dark as tissue is near the pleura, and its speckle is
coarser.
Why it does not invert greys: with them SIFA stops at a Dice of 0.3-0.4 from step 480 to 800 (one
seed, 48 x 48 pixels). The generator adds to its input; it loses the content (the correlation of a
frame with its translation falls from 0.96 to 0) and never turns it round (-1). Stuck, not slow.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter

from lus_ray.errors import SourceError

Picture = Float[np.ndarray, "H W"]
Pair = Literal["machine", "masks"]


def clips(
    *, patients: int = 12, frames: int = 8, size: int = 64, pair: str = "machine", seed: int = 0
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip of each of `patients` patients per domain.

    With the `pair` "machine" domain "B" has another machine and the same rule for masks; with
    "masks" it has the same machine, and masks of the lowest third of a B-line.

    Raises:
        SourceError: there is no such pair.
    """
    if pair not in get_args(Pair):
        raise SourceError(f"control: no --pair {pair!r}; use one of {', '.join(get_args(Pair))}")
    return {
        f"control/{domain}{number:03d}": partial(
            _make_clip, domain, number, frames, size, pair, seed
        )
        for domain in "AB"
        for number in range(patients)
    }


def _make_clip(
    domain: str, number: int, num_frames: int, size: int, pair: str, seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, ord(domain), number])
    is_other = domain == "B"
    lowest = 2 / 3 if is_other and pair == "masks" else 0.0
    simulated = [_draw_frame(size, lowest, rng) for _ in range(num_frames)]
    shown = [
        _show(echo, other_machine=is_other and pair == "machine", rng=rng) for echo, _ in simulated
    ]
    return {
        "domain": domain,
        "frames": np.stack(shown),
        "masks": np.stack([mask.astype(np.uint8) for _, mask in simulated]),
        "mask_scheme": "bline",
    }


def _draw_frame(
    size: int, masked_from: float, rng: np.random.Generator
) -> tuple[Picture, Bool[np.ndarray, "H W"]]:
    """Echoes (0-1) without speckle, and the mask: B-lines below this share of their length."""
    row, column = np.mgrid[:size, :size] / size
    pleura = rng.uniform(0.2, 0.4) + 0.03 * np.sin(2 * np.pi * (column + rng.random()))
    b_lines = np.zeros((size, size), bool)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0.1, 0.9) + rng.uniform(-0.15, 0.15) * (row - pleura)
        b_lines |= (np.abs(column - centre) < rng.uniform(0.04, 0.08)) & (row > pleura)
    echo = np.where(row < pleura, 0.4, 0.3)
    echo = np.where(b_lines, 0.7, echo)
    echo = np.where(np.abs(row - pleura) < 1.5 / size, 0.85, echo)
    return echo, b_lines & (row > pleura + masked_from * (1 - pleura))


def _show(
    echo: Picture, *, other_machine: bool, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W"]:
    grain, fade, power = (1.2, 0.55, 2) if other_machine else (0.8, 0.1, 1)
    speckle = gaussian_filter(rng.standard_normal(echo.shape), grain)
    depth = np.linspace(0, 1, len(echo))[:, None]
    grey = echo * (1 - fade * depth) * (1 + 0.15 * speckle / speckle.std())
    grey = np.clip(gaussian_filter(grey, 0.7), 0, 1)
    return np.round(255 * grey**power).astype(np.uint8)
