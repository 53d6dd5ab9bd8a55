"""Bands of age and body mass index, for counts and subgroups."""

from itertools import pairwise

import numpy as np

LIMITS: dict[str, tuple[int, ...]] = {"age": (40, 65), "bmi": (25, 30)}
"""First value of each band but the lowest: years, and kg/m2."""


def find_band(column: str, value: float) -> str:
    return band_names(column)[int(np.searchsorted(LIMITS[column], value, side="right"))]


def band_names(column: str) -> tuple[str, ...]:
    """`< 40`, `40-64`, `≥ 65`."""
    limits = LIMITS[column]
    between = (f"{low}-{high - 1}" for low, high in pairwise(limits))
    return (f"< {limits[0]}", *between, f"≥ {limits[-1]}")
