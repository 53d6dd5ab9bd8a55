"""Calibration and ROC curves.

Letters: N predictions or images, B bins, M points of a curve or pixels, K classes, H rows,
W columns, P patients, D draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from lus_ray.metrics.classification import ratio
from lus_ray.metrics.frames import ROUNDING

NUM_BINS = 10
SMALLEST = float(np.finfo(np.float32).eps)
"""Smaller probabilities count as this, so that a wrong prediction of 0 costs no infinite loss."""


@dataclass(frozen=True)
class Reliability:
    """By bin that holds a prediction: mean confidence, share that was right, and number."""

    confidence: Float[np.ndarray, "B"]
    correct: Float[np.ndarray, "B"]
    number: Int[np.ndarray, "B"]

    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3); NaN without predictions."""
        total = self.number.sum()
        gap = np.abs(self.confidence - self.correct) * self.number
        return float(gap.sum() / total) if total else float("nan")


def reliability_curve(histogram: Float[np.ndarray, "B 3"]) -> Reliability:
    """The curve of one histogram or of a sum of them; empty bins are left out."""
    number, confidence, correct = histogram[histogram[:, 0] > 0].T
    return Reliability(confidence / number, correct / number, number.astype(np.int64))


def histogram(
    confidence: Float[np.ndarray, "N"], correct: Bool[np.ndarray, "N"], *, num_bins: int = NUM_BINS
) -> Float[np.ndarray, "B 3"]:
    """Predictions, sum of confidences and right predictions by bin of equal width over [0, 1].

    A bin holds its upper edge, not its lower.
    """
    bin_of = find_bin(confidence, num_bins=num_bins)
    sums = [np.bincount(bin_of, weight, num_bins) for weight in (None, confidence, correct)]
    return np.stack(sums, axis=-1).astype(np.float64)


def find_bin(confidence: Float[np.ndarray, "N"], *, num_bins: int) -> Int[np.ndarray, "N"]:
    return np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


def pixel_histograms(
    probability: Float[np.ndarray, "N K H W"],
    target: UInt8[np.ndarray, "N H W"],
    *,
    num_bins: int = NUM_BINS,
) -> Float[np.ndarray, "N B 3"]:
    """Histogram of each image for the most probable class of every pixel, the first of equals.

    Histograms of images, patients and workers add up, so that no pixel is kept.

    Raises:
        ValueError: the shapes do not fit, or a confidence is no number from 0 to 1.
    """
    if probability.ndim != 4 or target.shape != (len(probability), *probability.shape[2:]):
        raise ValueError(f"probabilities {probability.shape} and true masks {target.shape}")
    histograms = np.zeros((len(target), num_bins, 3))
    for image, (chance, truth) in enumerate(zip(probability, target, strict=True)):
        confidence, correct = chance.max(axis=0), chance.argmax(axis=0) == truth
        histograms[image] = checked_histogram(
            confidence.ravel(), correct.ravel(), num_bins=num_bins
        )
    return histograms


def checked_histogram(
    confidence: Float[np.ndarray, "M"], correct: Bool[np.ndarray, "M"], *, num_bins: int = NUM_BINS
) -> Float[np.ndarray, "B 3"]:
    """`histogram`, refused where a confidence is no probability.

    Raises:
        ValueError: the shapes differ, or a confidence is no number from 0 to 1.
    """
    if confidence.shape != correct.shape:
        raise ValueError(f"confidences {confidence.shape} and correctness {correct.shape}")
    usable = (confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING)
    if not usable.all():
        bad = int((~usable).sum())
        raise ValueError(f"{bad} of {usable.size} confidences are no number from 0 to 1")
    return histogram(confidence, correct, num_bins=num_bins)


@dataclass(frozen=True)
class CalibrationCounts:
    """Sums of log loss and Brier score, and histograms of confidences, by patient."""

    patients: tuple[str, ...]
    number: Float[np.ndarray, "P"]
    losses: Float[np.ndarray, "P 2"]
    bins: Float[np.ndarray, "P B 3"]

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        total = weights @ self.number
        losses = ratio(weights @ self.losses, total[:, None])
        bins = np.tensordot(weights, self.bins, axes=1)
        gap = np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1)
        return {
            "log_loss": losses[:, 0],
            "brier": losses[:, 1],
            "calibration_error": ratio(gap, total),
        }


def count_calibration(
    patient: Sequence[str],
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    *,
    yes_no: bool = False,
) -> CalibrationCounts:
    """Count predictions by patient.

    The confidence is that of the most probable class, or of class 1 where `yes_no`.
    """
    names, index = np.unique(np.asarray(patient, str), return_inverse=True)
    predicted = np.ones_like(target) if yes_no else probability.argmax(axis=1)
    confidence, correct = pick_class(probability, predicted), predicted == target
    losses = np.stack([log_loss(target, probability), brier_score(target, probability)], axis=1)
    sums = np.zeros((len(names), 2))
    np.add.at(sums, index, losses)
    columns = (np.ones(len(index)), confidence, correct)
    bins = np.zeros((len(names), NUM_BINS, 3))
    bin_of = find_bin(confidence, num_bins=NUM_BINS)
    np.add.at(bins, (index, bin_of), np.stack(columns, axis=1))
    number = np.bincount(index, minlength=len(names)).astype(float)
    return CalibrationCounts(tuple(map(str, names)), number, sums, bins)


def log_loss(
    target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "N"]:
    """Negative log-likelihood of each prediction in nats; at most that of `SMALLEST`."""
    return -pick_class(log_probability(probability), target)


def brier_score(
    target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "N"]:
    """Squared distance of probabilities and truth, summed over classes, 0 to 2 (Brier 1950)."""
    truth = np.eye(probability.shape[1])[target]
    return ((probability - truth) ** 2).sum(axis=1)


def log_probability(probability: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    return np.log(np.maximum(probability.astype(np.float64), SMALLEST))


def pick_class(values: Float[np.ndarray, "N K"], k: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """The value of one class of each row."""
    return np.take_along_axis(values, k[:, None], axis=1)[:, 0]


def roc(
    positive: Bool[np.ndarray, "N"], value: Float[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
    """False and true positive rates at falling thresholds, from (0, 0) to (1, 1).

    One point a distinct value, so that tied values make one slanted step.

    Raises:
        ValueError: all are positive, or none is.
    """
    num_positive = int(positive.sum())
    if num_positive in (0, len(positive)):
        raise ValueError("a ROC curve needs positive and negative examples")
    order = np.argsort(-value, kind="stable")
    last = np.append(np.diff(value[order]) != 0, True)
    true = np.append(0, np.cumsum(positive[order])[last])
    false = np.append(0, np.cumsum(~positive[order])[last])
    return false / (len(positive) - num_positive), true / num_positive
