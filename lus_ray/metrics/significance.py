"""Tests of whether two arms differ on the same images, and a correction for many of them.

Letters: N images, C comparisons, P patients, D draws.
Why three tests: images of one patient are not independent. A test over images assumes they are; a
test over patient means does not, but has few observations; the bootstrap keeps the mean over images
and resamples patients. Images with a NaN are left out. What cannot be tested is NaN.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr

from lus_ray.metrics.bootstrap import resample_patients


def t_test(first: Float[np.ndarray, "N"], second: Float[np.ndarray, "N"]) -> float:
    """Two-sided p of the paired t-test over images, as in Mason 2021.

    The paper does not say so, but only a paired test over images explains both of its p-values.
    Equal values give 1, fewer than two images NaN.
    """
    difference = first - second
    return _t_test(difference[np.isfinite(difference)])


def t_test_patients(
    first: Float[np.ndarray, "N"], second: Float[np.ndarray, "N"], patient: Sequence[str]
) -> float:
    """The same over patients; an observation is the mean over the images of a patient.

    Raises:
        ValueError: there are not as many patients as images.
    """
    return _t_test(patient_means(first - second, patient))


def patient_means(values: Float[np.ndarray, "N"], patient: Sequence[str]) -> Float[np.ndarray, "P"]:
    """Mean over the defined images of each patient that has any, in the order of their names."""
    sums, num_images = _by_patient(values, patient)
    return sums / num_images


def bootstrap_test(
    first: Float[np.ndarray, "N"],
    second: Float[np.ndarray, "N"],
    patient: Sequence[str],
    *,
    num_draws: int,
    rng: np.random.Generator,
) -> float:
    """Two-sided p of the mean difference over images when patients are resampled.

    p is twice the smaller share of draws whose mean difference is at most 0, or at least 0; at
    most 1 and at least 1 / (num_draws + 1), the resolution of the draws. NaN for one patient.

    Raises:
        ValueError: there are not as many patients as images.
    """
    sums, num_images = _by_patient(first - second, patient)
    if len(sums) < 2:
        return float("nan")
    weights = resample_patients(len(sums), num_draws=num_draws, rng=rng)
    drawn = (weights @ sums) / (weights @ num_images)
    smaller = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return float(min(1.0, max(2 * smaller, 1 / (num_draws + 1))))


def holm(p: Float[np.ndarray, "C"]) -> Float[np.ndarray, "C"]:
    """p-values adjusted for the number of comparisons (Holm 1979), in the order given.

    They bound the chance of any false alarm, whatever their dependence. NaN stays NaN and does not
    count as a comparison.
    """
    adjusted = np.full(len(p), np.nan)
    defined = np.flatnonzero(np.isfinite(p))
    ascending = defined[np.argsort(p[defined], kind="stable")]
    factor = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1.0, np.maximum.accumulate(factor * p[ascending]))
    return adjusted


def _t_test(difference: Float[np.ndarray, "N"]) -> float:
    if len(difference) < 2:
        return float("nan")
    if not difference.any():
        return 1.0
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    with np.errstate(divide="ignore"):
        t = np.abs(difference.mean()) / error
    return float(2 * stdtr(len(difference) - 1, -t))


def _by_patient(
    difference: Float[np.ndarray, "N"], patient: Sequence[str]
) -> tuple[Float[np.ndarray, "P"], Int[np.ndarray, "P"]]:
    if len(patient) != len(difference):
        raise ValueError(f"patients of {len(patient)} images and values of {len(difference)}")
    defined = np.isfinite(difference)
    names, index = np.unique(np.asarray(patient, str)[defined], return_inverse=True)
    sums = np.bincount(index, weights=difference[defined], minlength=len(names))
    return sums.astype(np.float64), np.bincount(index, minlength=len(names))
