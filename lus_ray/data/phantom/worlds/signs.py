"""Lung signs as faint patterns, and a severity that follows from them.

Each of six groups of biomarkers is absent or present: A-lines, B-lines, a thick pleura, a gap in
it, a consolidation, an effusion. The other groups are not judged.
Letters: T frames, H rows, W columns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS, NUM_SEVERITIES
from lus_ray.errors import InputError

LEVELS = {
    "A-lines": ("none", "strong"),
    "B-lines": ("none", "some"),
    "pleural thickness": ("< 1 mm", "> 5 mm"),
    "pleural break": ("none", "5-10 mm"),
    "consolidation": ("none", "> 10 mm"),
    "effusion": ("none", "> 5 mm"),
}
"""The levels of each group: absent, present."""

GRADED = ("B-lines", "pleural break", "consolidation")
"""Severity is the number of these that are present."""

GRADING, OTHERS = "grading", "others"
"""Sites."""

BASE, CONTRAST, HAZE, SPECKLE = 0.35, 0.5, 0.05, 0.15
"""Grey of the tissue, and of what hides the signs, as fractions of white."""

RULES = ("signs", "corner")
LEAST_SIZE = 24


def clips(
    *,
    patients: int = 1200,
    frames: int = 2,
    size: int = 32,
    graded: float = 0.05,
    rule: str = "signs",
    shuffled: bool = False,
    seed: int = 0,
) -> dict[str, Callable[[], dict[str, Any]]]:
    """One clip a patient; the share `graded` comes from the site `GRADING`, evenly spread.

    `size` in pixels is a multiple of 4. `rule`: severity follows from the "signs", or from the
    brightness of a "corner", which no biomarker describes. `shuffled`: the biomarkers are those of
    another clip.

    Raises:
        InputError: an option is out of its range.
    """
    if rule not in RULES:
        raise InputError(f"world signs: --rule is {rule!r}; use one of {', '.join(RULES)}")
    if size < LEAST_SIZE or size % 4:
        raise InputError(f"world signs: --size is {size}; use a multiple of 4 from {LEAST_SIZE}")
    if not 0 < graded <= 1:
        raise InputError(f"world signs: --graded is {graded}; use a share above 0, up to 1")
    every = round(1 / graded)
    make = partial(_make, frames=frames, size=size, every=every, rule=rule, seed=seed)
    return {
        _name(index): partial(make, index, (index + 1) % patients if shuffled else index)
        for index in range(patients)
    }


def _name(index: int) -> str:
    return f"control/signs{index:04d}"


def _make(
    index: int, described: int, *, frames: int, size: int, every: int, rule: str, seed: int
) -> dict[str, Any]:
    """The clip of a patient, with the biomarkers of the patient `described`."""
    severity, corner, present = sample_signs(seed, index, rule)
    rng = np.random.default_rng([seed, index, 1])
    return {
        "severity": severity,
        "site": GRADING if index % every == 0 else OTHERS,
        "biomarkers": list_biomarkers(sample_signs(seed, described, rule)[2]),
        "frames": draw(present, corner, num_frames=frames, size=size, rng=rng),
    }


def sample_signs(seed: int, index: int, rule: str) -> tuple[int, int, frozenset[str]]:
    """Severity, brightness of the corner (0 to 3), and the groups that are present.

    In either world each severity is as frequent as any other, and so is each number of signs.
    """
    rng = np.random.default_rng([seed, index, 0])
    number, corner = (int(n) for n in rng.integers(0, NUM_SEVERITIES, 2))
    graded = rng.permutation(GRADED)[:number]
    others = [group for group in LEVELS if group not in GRADED and rng.random() < 0.5]
    return (number if rule == "signs" else corner), corner, frozenset([*map(str, graded), *others])


def list_biomarkers(present: frozenset[str]) -> list[int]:
    """1 for the level of each drawn group, 0 for its other levels, -1 for groups not drawn."""
    values = dict.fromkeys(BIOMARKERS, -1)
    for group, levels in LEVELS.items():
        level = levels[group in present]
        values |= {f"{group}: {name}": int(name == level) for name in BIOMARKER_GROUPS[group]}
    return list(values.values())


def draw(
    present: frozenset[str], corner: int, *, num_frames: int, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "T H W"]:
    """Frames that show these signs at random places, under speckle that changes with each frame."""
    image = np.full((size, size), 0.25)
    pleura = round(size * rng.uniform(0.15, 0.25))
    thickness = 4 if "pleural thickness" in present else 1
    if "A-lines" in present:
        image[2 * pleura :: pleura] = 0.55
    image[pleura : pleura + thickness] = 0.9
    if "pleural break" in present:
        gap = size // 4
        left = rng.integers(size // 8, size - size // 8 - gap)
        image[pleura : pleura + thickness, left : left + gap] = 0.1
    if "B-lines" in present:
        for column in _apart(3, size, rng):
            image[pleura:, column] = 0.85
    if "consolidation" in present:
        _draw_disc(image, pleura, rng)
    if "effusion" in present:
        image[-size // 6 :] = 0.0
    faint = BASE + CONTRAST * (image - 0.25)
    faint += rng.normal(0, HAZE, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1)
    faint[: size // 4, -size // 4 :] = corner / (NUM_SEVERITIES - 1)
    speckle = rng.normal(0, SPECKLE, (num_frames, size, size))
    return np.round(255 * np.clip(faint + speckle, 0, 1)).astype(np.uint8)


def _apart(number: int, size: int, rng: np.random.Generator) -> list[int]:
    """Columns, one in each of `number` stripes of the picture."""
    width = size // number
    return [int(n * width + rng.integers(1, width - 1)) for n in range(number)]


def _draw_disc(image: Float[np.ndarray, "H W"], top: int, rng: np.random.Generator) -> None:
    size, radius = len(image), len(image) / 6
    row = rng.uniform(top + radius + 3, 0.75 * size - radius)
    column = rng.uniform(radius, size - radius)
    rows, columns = np.ogrid[:size, :size]
    distance = np.hypot(rows - row, columns - column)
    image[distance < radius] = 0.05
    image[(distance >= radius) & (distance < radius + 1.2)] = 0.75
