"""Calibration of pixel probabilities from histograms that add up, so that no pixel is kept.

Letters: N images, K classes, H rows, W columns, M pixels, B bins, D leading axes such as images
or draws of a resampling (none for one score).
Why histograms: a test set has hundreds of millions of pixels, but a reliability curve needs of a
bin only three sums. Histograms of images, patients and workers are added like pixel counts; the
result equals `lus_ray.metrics.calibration` on all their pixels at once.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from lus_ray.metrics.calibration import NUM_BINS, Reliability
from lus_ray.metrics.frames import ROUNDING
from lus_ray.metrics.overlap import share

NUMBER, CONFIDENCE, CORRECT = 0, 1, 2
"""Last axis of a histogram: pixels, sum of their confidences, pixels that are right."""


def histograms(
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
        found[image] = histogram(chance.max(axis=0).ravel(), correct.ravel(), num_bins=num_bins)
    return found


def histogram(
    confidence: Float[np.ndarray, "M"],
    correct: Bool[np.ndarray, "M"],
    *,
    num_bins: int = NUM_BINS,
) -> Float[np.ndarray, "B 3"]:
    """Bins of equal width over [0, 1]; a bin holds its upper edge, not its lower.

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
    place = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    sums = [np.bincount(place, weight, num_bins) for weight in (None, confidence, correct)]
    return np.stack(sums, axis=-1).astype(np.float64)


def reliability(histogram: Float[np.ndarray, "B 3"]) -> Reliability:
    """The curve of one histogram or of a sum of them; bins without pixels are left out."""
    held = histogram[histogram[:, NUMBER] > 0]
    number = held[:, NUMBER]
    return Reliability(
        held[:, CONFIDENCE] / number, held[:, CORRECT] / number, number.astype(np.int64)
    )


def expected_error(histogram: Float[np.ndarray, "*D B 3"]) -> Float[np.ndarray, "*D"]:
    """Expected calibration error of each histogram; NaN without pixels.

    Gap of confidence and correctness, weighted by number (Guo et al. 2017, equation 3).
    """
    gap = np.abs(histogram[..., CONFIDENCE] - histogram[..., CORRECT])
    return share(gap.sum(axis=-1), histogram[..., NUMBER].sum(axis=-1))
