"""Calibration of pixel probabilities from histograms that add up, so that no pixel is kept.

Letters: N images, K classes, H rows, W columns, M pixels, B bins.
Why histograms: a test set has hundreds of millions of pixels, but a reliability curve needs of a
bin only three sums. Histograms of images, patients and workers are added like pixel counts; the
result equals `lus_ray.metrics.calibration` on all their pixels at once.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from lus_ray.metrics import calibration
from lus_ray.metrics.calibration import NUM_BINS
from lus_ray.metrics.frames import ROUNDING


def pixel_histograms(
    probability: Float[np.ndarray, "N K H W"],
    target: UInt8[np.ndarray, "N H W"],
    *,
    num_bins: int = NUM_BINS,
) -> Float[np.ndarray, "N B 3"]:
    """Histogram of each image for the most probable class of every pixel, the first of equals.

    Raises:
        ValueError: the shapes do not fit, or a confidence is no number from 0 to 1.
    """
    if probability.ndim != 4 or target.shape != (len(probability), *probability.shape[2:]):
        raise ValueError(f"probabilities {probability.shape} and true masks {target.shape}")
    found = np.zeros((len(target), num_bins, 3))
    for image, (chance, truth) in enumerate(zip(probability, target, strict=True)):
        correct = chance.argmax(axis=0) == truth
        found[image] = checked_histogram(
            chance.max(axis=0).ravel(), correct.ravel(), num_bins=num_bins
        )
    return found


def checked_histogram(
    confidence: Float[np.ndarray, "M"],
    correct: Bool[np.ndarray, "M"],
    *,
    num_bins: int = NUM_BINS,
) -> Float[np.ndarray, "B 3"]:
    """The histogram of `calibration`, refused where a confidence is no probability.

    For one class instead of the predicted one, give its probability and where it is the truth.

    Raises:
        ValueError: the shapes differ, or a confidence is no number from 0 to 1.
    """
    if confidence.shape != correct.shape:
        raise ValueError(f"confidences {confidence.shape} and correctness {correct.shape}")
    usable = (confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING)
    if not usable.all():
        bad = int((~usable).sum())
        raise ValueError(f"{bad} of {usable.size} confidences are no number from 0 to 1")
    return calibration.histogram(confidence, correct, num_bins=num_bins)
