"""Counts of one fold's test clips by patient, which score resampled patients by reweighting.

Letters: N clips, frames or images, P patients, D draws, K classes or labels, S settings,
Q metrics.
A confusion matrix is a sum over patients, and won pairs are a sum over pairs of patients: with the
matrix M of pairs by patient and the multiplicities w of a draw, the pairs won in it are w M w.
`trained` marks the classes that the model of the fold was trained on; None for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from lus_ray.metrics import classification, multilabel, segmentation
from lus_ray.metrics import frames as frame_metrics
from lus_ray.metrics.classification import compare_ranks, ratio
from lus_ray.metrics.frames import FrameSelection, explain_unusable


@runtime_checkable
class PatientCounts(Protocol):
    """All metrics of one fold under any weights of its patients."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Patients in the order of the columns of `weights`."""

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        """Metrics by name and draw; NaN where a draw leaves a metric undefined."""


@dataclass(frozen=True)
class PairWins:
    """Pairs won between two sets of clips, by patient: `won[p, q]` for patient rows and columns."""

    rows: Int[np.ndarray, "p"]
    columns: Int[np.ndarray, "q"]
    won: Float[np.ndarray, "p q"]

    def total(self, by_patient: Float[np.ndarray, "P D"]) -> Float[np.ndarray, "D"]:
        against = self.won.T @ by_patient[self.rows]
        return np.einsum("qd,qd->d", against, by_patient[self.columns])


@dataclass(frozen=True)
class ClassCounts:
    """One label with K classes; `pairs[a, b]` as in `lus_ray.metrics.classification.count_wins`."""

    patients: tuple[str, ...]
    confusion: Float[np.ndarray, "P K K"]
    pairs: dict[tuple[int, int], PairWins]
    trained: Bool[np.ndarray, "K"] | None = None

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        counts = np.tensordot(weights, self.confusion, axes=1)
        won = np.zeros_like(counts)
        by_patient = np.ascontiguousarray(weights.T)
        for (a, b), pairs in self.pairs.items():
            won[:, a, b] = pairs.total(by_patient)
        return classification.compute_metrics(counts, won, self.trained)


@dataclass(frozen=True)
class InheritedCounts:
    patients: tuple[str, ...]
    clips: ClassCounts
    confusion: Float[np.ndarray, "P K K"]
    classes: tuple[str, ...]

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        counts = np.tensordot(weights, self.confusion, axes=1)
        of_frames = frame_metrics.compute_inherited_metrics(
            counts, self.classes, self.clips.trained
        )
        return self.clips.metrics(weights) | of_frames


@dataclass(frozen=True)
class LabelCounts:
    patients: tuple[str, ...]
    confusion: Float[np.ndarray, "P K 2 2"]
    pairs: dict[int, PairWins]
    group_hits: Float[np.ndarray, "P 2"]
    positives: Float[np.ndarray, "P 2"]

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        counts = np.tensordot(weights, self.confusion, axes=1)
        won = np.zeros_like(counts)
        by_patient = np.ascontiguousarray(weights.T)
        for k, pairs in self.pairs.items():
            won[:, k, 0, 1] = won[:, k, 1, 0] = pairs.total(by_patient)
        by_label = classification.compute_metrics(counts, won)
        values = {name: segmentation.mean_of_defined(by_label[name]) for name in multilabel.MEANS}
        values["group_accuracy"] = ratio(*(weights @ self.group_hits).T)
        values["micro_f1"] = ratio(*(weights @ self.positives).T)
        return values


@dataclass(frozen=True)
class FrameCounts:
    """One score a frame: confusion matrices of each of `lus_ray.metrics.frames.SETTINGS`."""

    patients: tuple[str, ...]
    confusion: Float[np.ndarray, "P S K K"]
    trained: Bool[np.ndarray, "K"] | None = None

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        counts = np.tensordot(weights, self.confusion, axes=1)
        return frame_metrics.compute_metrics(counts, self.trained)


@dataclass(frozen=True)
class PixelCounts:
    """Masks of one scheme; `image_sums` of `segmentation.PER_IMAGE`: sum and number of images."""

    patients: tuple[str, ...]
    scheme: str
    confusion: Float[np.ndarray, "P K K"]
    image_sums: Float[np.ndarray, "P Q 2"]
    trained: Bool[np.ndarray, "K"] | None = None

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        counts = np.tensordot(weights, self.confusion, axes=1)
        values = segmentation.compute_metrics(counts, self.scheme, self.trained)
        sums = np.tensordot(weights, self.image_sums, axes=1)
        for q, name in enumerate(segmentation.PER_IMAGE[self.scheme]):
            values[f"{name}_per_image"] = ratio(sums[:, q, 0], sums[:, q, 1])
        return values


@dataclass(frozen=True)
class PatientMeans:
    """Means over patients of the mean over their clips; each patient counts once."""

    patients: tuple[str, ...]
    means: dict[str, Float[np.ndarray, "P"]]

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        total = weights.sum(axis=1)
        return {name: ratio(weights @ own, total) for name, own in self.means.items()}


def mean_by_patient(
    patient: Sequence[str], columns: dict[str, Float[np.ndarray, "N"]]
) -> PatientMeans:
    patients, index = _index(patient)
    number = np.bincount(index, minlength=len(patients))
    means = {n: np.bincount(index, own, len(patients)) / number for n, own in columns.items()}
    return PatientMeans(patients, means)


def count_classes(
    patient: Sequence[str],
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> ClassCounts:
    patients, index = _index(patient)
    num_classes = probability.shape[1]
    confusion = np.zeros((len(patients), num_classes, num_classes))
    np.add.at(confusion, (index, target, probability.argmax(axis=1)), 1.0)
    pairs = {
        (a, b): _pairs(index, target == a, target == b, probability[:, a])
        for a, b in permutations(np.unique(target).tolist(), 2)
    }
    return ClassCounts(patients, confusion, pairs, trained)


def count_inherited(
    patient: Sequence[str],
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    frame_counts: Int[np.ndarray, "N K"],
    names: Sequence[str],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> InheritedCounts:
    patients, index = _index(patient)
    confusion = np.zeros((len(patients), *frame_counts.shape[1:] * 2))
    np.add.at(confusion, (index, target), frame_counts)
    clips = count_classes(patient, target, probability, trained)
    return InheritedCounts(patients, clips, confusion, tuple(names))


def count_labels(
    patient: Sequence[str],
    target: Int[np.ndarray, "N K"],
    probability: Float[np.ndarray, "N K"],
    names: Sequence[str],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> LabelCounts:
    """Count clips by patient; targets are 0, 1 or -1 (not judged)."""
    target = multilabel.keep_trained(target, trained)
    patients, index = _index(patient)
    num_labels = target.shape[1]
    confusion = np.zeros((len(patients), num_labels, 2, 2))
    predicted = (probability >= multilabel.THRESHOLD).astype(np.int64)
    row, label = np.nonzero(target >= 0)
    np.add.at(confusion, (index[row], label, target[row, label], predicted[row, label]), 1.0)
    pairs = {}
    for k in range(num_labels):
        present, absent = target[:, k] == 1, target[:, k] == 0
        if present.any() and absent.any():
            pairs[k] = _pairs(index, present, absent, probability[:, k])
    hits = multilabel.group_hits(target, probability, multilabel.group_columns(names, trained))
    sums = np.zeros((len(patients), 4))
    positives = multilabel.count_positives(target, probability)
    np.add.at(sums, index, np.column_stack([*hits, positives]))
    return LabelCounts(patients, confusion, pairs, sums[:, :2], sums[:, 2:])


def count_frames(
    patient: Sequence[str],
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    members: FrameSelection,
    trained: Bool[np.ndarray, "K"] | None = None,
) -> FrameCounts:
    """Count frames by patient and setting; `patient` has one name per frame."""
    patients, index = _index(patient)
    num_scores = probability.shape[1]
    confusion = np.zeros((len(patients), len(members.kept), num_scores, num_scores))
    if not explain_unusable(probability):
        setting, frame = np.nonzero(members.kept)
        predicted = probability.argmax(axis=1)
        np.add.at(confusion, (index[frame], setting, target[frame], predicted[frame]), 1.0)
    return FrameCounts(patients, confusion, trained)


def count_pixels(
    patient: Sequence[str],
    counts: Real[np.ndarray, "N K K"],
    scheme: str,
    trained: Bool[np.ndarray, "K"] | None = None,
) -> PixelCounts:
    """Sum the counts of `segmentation.count_pixels` by patient; `patient` has one name per image.

    Raises:
        ValueError: an unknown scheme, or counts of another number of classes or images.
    """
    if len(patient) != len(counts):
        raise ValueError(f"patients of {len(patient)} images and counts of {len(counts)}")
    patients, index = _index(patient)
    confusion = np.zeros((len(patients), *counts.shape[1:]))
    np.add.at(confusion, index, counts)
    by_image = segmentation.compute_metrics(counts, scheme, trained)
    values = np.stack([by_image[name] for name in segmentation.PER_IMAGE[scheme]], axis=1)
    image_sums = np.zeros((len(patients), values.shape[1], 2))
    np.add.at(image_sums[..., 0], index, np.nan_to_num(values))
    np.add.at(image_sums[..., 1], index, np.isfinite(values))
    return PixelCounts(patients, scheme, confusion, image_sums, trained)


def _index(patient: Sequence[str]) -> tuple[tuple[str, ...], Int[np.ndarray, "N"]]:
    names, index = np.unique(np.asarray(patient, str), return_inverse=True)
    return tuple(map(str, names)), index


def _pairs(
    index: Int[np.ndarray, "N"],
    high: Bool[np.ndarray, "N"],
    low: Bool[np.ndarray, "N"],
    value: Float[np.ndarray, "N"],
) -> PairWins:
    rows, row = np.unique(index[high], return_inverse=True)
    columns, column = np.unique(index[low], return_inverse=True)
    by_clip = compare_ranks(value[high], value[low])
    return PairWins(
        rows, columns, np.eye(len(rows))[row].T @ by_clip @ np.eye(len(columns))[column]
    )
