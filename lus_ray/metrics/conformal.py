"""Prediction sets: as many classes as it takes to hold the true one with a chosen probability.

Letters: N clips, K classes, P patients.
Split conformal prediction with the score 1 - p(true class) (Sadinle, Lei and Wasserman 2019): a
class is in the set where 1 - p is at most a quantile of the scores of calibration clips. A set is
empty where no class is probable enough.
Clips of one patient are not exchangeable, patients are. So each patient has the same weight, shared
by its clips, and the patient to come has it at infinity (Lee, Barber and Willett 2023,
Distribution-free inference with hierarchical data; with one clip a patient this is the usual
ceil((P + 1) level) / P quantile). Guaranteed: if calibration and new patients come from one
population and the model has seen neither, the set of a random clip of a new patient holds its class
with at least the chosen probability, on average over patients and over calibration data. Not
guaranteed: the same for each class, each subgroup, or patients of another hospital.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from lus_ray.metrics.calibration import pick_class
from lus_ray.metrics.patient_counts import PatientMeans, mean_by_patient

LEVELS = (0.9, 0.8)
"""Nominal coverages of the reports."""


def conformity_threshold(
    patient: Sequence[str],
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    *,
    level: float,
) -> float:
    """The largest 1 - p of a class in a set.

    Infinity, so that sets hold all classes, for fewer than level / (1 - level) patients: 9 for
    90 %.
    """
    score = 1 - pick_class(probability, target)
    names, index = np.unique(np.asarray(patient, str), return_inverse=True)
    order = np.argsort(score, kind="stable")
    weight = 1 / np.bincount(index)[index[order]]
    reached = np.flatnonzero(np.cumsum(weight) >= level * (len(names) + 1) - 1e-9)
    return float(score[order[reached[0]]]) if len(reached) else float("inf")


def predict_sets(
    probability: Float[np.ndarray, "N K"], threshold: float
) -> Bool[np.ndarray, "N K"]:
    """The classes in the set of each clip."""
    return 1 - probability <= threshold


def score_sets(
    patient: Sequence[str], target: Int[np.ndarray, "N"], sets: Bool[np.ndarray, "N K"]
) -> PatientMeans:
    """Coverage, mean size, and shares of sets with one class and with none; patients count equally.

    Each as a mean over patients of the mean over their clips, which is what the guarantee is about.
    """
    size = sets.sum(axis=1)
    covered = np.take_along_axis(sets, target[:, None], axis=1)[:, 0]
    columns = {"coverage": covered, "size": size, "single": size == 1, "empty": size == 0}
    return mean_by_patient(patient, {name: own.astype(float) for name, own in columns.items()})
