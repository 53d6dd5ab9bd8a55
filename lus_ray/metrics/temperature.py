"""Temperature scaling: one number per model that makes its probabilities less or more confident.

Letters: N predictions, K classes.
Guo et al. 2017 (On calibration of modern neural networks), section 4.2: logits are divided by one
temperature, fitted by negative log-likelihood on validation predictions. Logits follow from stored
probabilities up to a constant, log p. A yes/no label has two classes, "no" and "yes", so that its
logit is divided by the temperature. The most probable class stays the same.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from lus_ray.metrics.calibration import log_probability, pick_class
from lus_ray.metrics.classification import check_arrays, explain_unusable

BOUNDS = (0.05, 20.0)
"""Smallest and largest temperature; beyond the largest, all classes are almost equally likely."""

NEAR_BOUND = 1.01
"""A minimum this close to a bound lies beyond it."""


@dataclass(frozen=True)
class Temperature:
    """1 with a reason where none is best; `BOUNDS[1]` with one where a larger one would be."""

    value: float = 1.0
    reason: str = ""


def fit_temperature(
    target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N K"]
) -> Temperature:
    """The temperature with the smallest negative log-likelihood, within `BOUNDS`.

    The loss of class indices 0..K-1 has one minimum. It has none where every prediction is right or
    tied, as then any sharper one is better, and targets of one class do not determine it.

    Raises:
        ValueError: the shapes do not fit, or a target lies outside 0..K-1.
    """
    check_arrays(target, probability)
    if explain_unusable(probability):
        return Temperature(reason="no usable validation prediction")
    if len(np.unique(target)) < 2:
        return Temperature(reason="all validation examples are of one class")
    logits = log_probability(probability)
    if (pick_class(logits, target) >= logits.max(axis=1)).all():
        return Temperature(reason="every validation prediction is right or tied")

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-pick_class(scaled, target).mean())

    fitted = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-5})
    value = float(np.exp(fitted.x))
    if value < NEAR_BOUND * BOUNDS[0]:
        return Temperature(reason="almost every validation prediction is right")
    is_flat = value > BOUNDS[1] / NEAR_BOUND
    return Temperature(value, "validation predictions are no better than chance" if is_flat else "")


def apply_temperature(
    probability: Float[np.ndarray, "N K"], temperature: float
) -> Float[np.ndarray, "N K"]:
    """Probabilities at another temperature; 1 leaves them as they are, but for rounding."""
    return np.exp(log_softmax(log_probability(probability) / temperature, axis=1))
