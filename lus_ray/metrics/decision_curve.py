"""Decision curves: what acting on a prediction is worth (Vickers and Elkin 2006).

Letters: N clips, P patients, D draws, T thresholds.
Whoever acts at a probability of at least t accepts (1 - t) / t false alarms for one hit. Net
benefit is hits minus false alarms at this exchange rate, per clip. Acting on no clip is worth 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from lus_ray.metrics.classification import ratio

THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True)
class DecisionCounts:
    """Clips, positive clips, and hits and false alarms at each threshold, by patient."""

    patients: tuple[str, ...]
    num_clips: Float[np.ndarray, "P"]
    num_positive: Float[np.ndarray, "P"]
    hits: Float[np.ndarray, "P T"]
    false_alarms: Float[np.ndarray, "P T"]

    def net_benefit(self, weights: Float[np.ndarray, "D P"]) -> Float[np.ndarray, "D T"]:
        """Of acting where the predicted probability reaches the threshold."""
        total = (weights @ self.num_clips)[:, None]
        return ratio(weights @ self.hits - odds() * (weights @ self.false_alarms), total)

    def treat_all(self, weights: Float[np.ndarray, "D P"]) -> Float[np.ndarray, "D T"]:
        """Of acting on every clip."""
        share = ratio(weights @ self.num_positive, weights @ self.num_clips)[:, None]
        return share - odds() * (1 - share)


def count_decisions(
    patient: Sequence[str], positive: Bool[np.ndarray, "N"], probability: Float[np.ndarray, "N"]
) -> DecisionCounts:
    names, index = np.unique(np.asarray(patient, str), return_inverse=True)
    acted = probability[:, None] >= THRESHOLDS

    def by_patient(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(names), *values.shape[1:]))
        np.add.at(sums, index, values.astype(float))
        return sums

    return DecisionCounts(
        tuple(map(str, names)),
        by_patient(np.ones(len(index))),
        by_patient(positive),
        by_patient(acted & positive[:, None]),
        by_patient(acted & ~positive[:, None]),
    )


def odds() -> Float[np.ndarray, "T"]:
    """False alarms that weigh as much as one hit, inverted: t / (1 - t)."""
    return THRESHOLDS / (1 - THRESHOLDS)
