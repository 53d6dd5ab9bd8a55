"""Support vector machines with the probabilities of LIBSVM: Platt scaling of every pair of classes.

Shapes: N examples, D features, K classes, P = K (K - 1) / 2 pairs in the order (0, 1), (0, 2) ...
Source: Chang and Lin 2011, "LIBSVM", section 8: five-fold decision values of each pair, a sigmoid
by Newton's method (Lin et al. 2007), coupled by the second method of Wu et al. 2004. It is what
`SVC(probability=True)` of scikit-learn does, which version 1.11 no longer has.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_FOLDS = 5
LEAST = 1e-7
"""Probabilities of a pair are cut off here and at 1 minus it."""


class PairwiseSVC:
    """`SVC` with probabilities; folds follow from `seed`, and without `gamma` it is "scale"."""

    def __init__(self, seed: int = 0, *, C: float = 1.0, gamma: float | None = None) -> None:
        self.seed, self.C, self.gamma = seed, C, gamma

    def fit(
        self, examples: Float[np.ndarray, "N D"], target: Int[np.ndarray, "N"]
    ) -> "PairwiseSVC":
        from sklearn.svm import SVC

        examples = np.asarray(examples, np.float64)
        variance = float(examples.var())
        # Folds of pairs have the width of the kernel that fits all examples, as in LIBSVM.
        scale = 1 / (examples.shape[1] * variance) if variance else 1.0
        machine = partial(SVC, C=self.C, gamma=self.gamma or scale)
        self.svc = machine(decision_function_shape="ovo").fit(examples, target)
        self.classes_ = self.svc.classes_
        rng = np.random.default_rng(self.seed)
        sigmoids = []
        for low, high in combinations(self.classes_, 2):
            of_pair = (target == low) | (target == high)
            is_low = target[of_pair] == low
            decisions = cross_decisions(examples[of_pair], is_low, machine, rng=rng)
            sigmoids.append(fit_sigmoid(decisions, is_low))
        self.sigmoids = np.array(sigmoids)
        return self

    def predict_proba(self, examples: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        decisions = self.svc.decision_function(np.asarray(examples, np.float64))
        if len(self.classes_) == 2:  # scikit-learn turns the sign of the only pair
            decisions = -decisions[:, None]
        slope, offset = self.sigmoids.T
        return couple(sigmoid(slope * decisions + offset))


def cross_decisions(
    examples: Float[np.ndarray, "N D"],
    is_low: Bool[np.ndarray, "N"],
    machine: Callable[[], Any],
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N"]:
    """Decision values of each example by a machine without its fold; positive for `is_low`.

    Folds are fifths of a random order, without regard to classes. Where the others have one class
    only, the value is 1 or -1.
    """
    decisions = np.zeros(len(examples))
    for held in np.array_split(rng.permutation(len(examples)), NUM_FOLDS):
        others = np.setdiff1d(np.arange(len(examples)), held)
        if not len(held) or not len(others):
            continue
        if len(np.unique(is_low[others])) == 1:
            decisions[held] = 1 if is_low[others[0]] else -1
        else:
            svc = machine().fit(examples[others], is_low[others])
            decisions[held] = svc.decision_function(examples[held])
    return decisions


def fit_sigmoid(
    decisions: Float[np.ndarray, "N"], positive: Bool[np.ndarray, "N"]
) -> tuple[float, float]:
    """Slope A and offset B of 1 / (1 + exp(A d + B)), the probability of `positive`.

    Targets are Platt's, drawn in from 0 and 1 by the number of examples.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    high, low = (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2)
    target = np.where(positive, high, low)
    inputs = np.stack([decisions, np.ones_like(decisions)], axis=1)

    def loss(found: Float[np.ndarray, "2"]) -> float:
        z = inputs @ found
        return float((target * z + np.logaddexp(0, -z)).sum())

    found = np.array([0.0, np.log((num_negative + 1) / (num_positive + 1))])
    for _ in range(100):
        probability = sigmoid(inputs @ found)
        gradient = inputs.T @ (target - probability)
        if np.abs(gradient).max() < 1e-5:
            break
        weights = probability * (1 - probability)
        hessian = (inputs * weights[:, None]).T @ inputs + 1e-12 * np.eye(2)
        step = -np.linalg.solve(hessian, gradient)
        size, before = 1.0, loss(found)
        while size >= 1e-10 and loss(found + size * step) >= before + 1e-4 * size * gradient @ step:
            size /= 2
        if size < 1e-10:
            break
        found = found + size * step
    return float(found[0]), float(found[1])


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(z)), which falls with z."""
    return np.exp(-np.logaddexp(0, z))


def couple(pairs: Float[np.ndarray, "N P"]) -> Float[np.ndarray, "N K"]:
    """Probabilities of K classes from those of the first class of each pair.

    They minimise the sum over pairs of (r_ji p_i - r_ij p_j)^2 (Wu et al. 2004, equation 21), by
    the published iteration with its tolerance, which is coarse: 0.005 / K.
    """
    num_classes = round((1 + np.sqrt(1 + 8 * pairs.shape[1])) / 2)
    first, second = np.array(list(combinations(range(num_classes), 2)), int).reshape(-1, 2).T
    pairs = np.clip(pairs, LEAST, 1 - LEAST)
    r = np.zeros((len(pairs), num_classes, num_classes))
    r[:, first, second], r[:, second, first] = pairs, 1 - pairs
    q = -np.swapaxes(r, 1, 2) * r
    diagonal = np.arange(num_classes)
    q[:, diagonal, diagonal] = (r**2).sum(axis=1)
    return np.stack([_solve(own) for own in q]) if len(q) else np.zeros((0, num_classes))


def _solve(q: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K"]:
    num_classes = len(q)
    p = np.full(num_classes, 1 / num_classes)
    for _ in range(max(100, num_classes)):
        qp = q @ p
        total = p @ qp
        if np.abs(qp - total).max() < 0.005 / num_classes:
            break
        for t in range(num_classes):
            change = (total - qp[t]) / q[t, t]
            p[t] += change
            total = (total + change * (change * q[t, t] + 2 * qp[t])) / (1 + change) ** 2
            qp = (qp + change * q[t]) / (1 + change)
            p /= 1 + change
    return p
