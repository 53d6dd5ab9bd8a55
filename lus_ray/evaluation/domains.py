"""Arms that outline masks, on each domain by itself: over images, over patients, and tested.

Letters: M test images of one domain, fold after fold, A arms.
Why beside the tables of folds: a study of two domains prints mean and standard deviation over all
test images and compares its arms on those. Where folds share a test set, an image counts once a
fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation import mask_arms, scoring
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.evaluation.scoring import Masks
from lus_ray.metrics import segmentation, significance

NUM_DRAWS = 10_000
"""Draws of patients behind a p-value: with 1,000 none of 50 comparisons could be below 0.05."""

TESTS = ("images", "patients", "bootstrap")
"""Paired over images, paired over patients, and by resampled patients (`metrics.paired`)."""

TWINS = (", validated", ", translated")
"""How the name of an arm ends that is the twin of a published one: with a validation patient, or
the same networks on translated frames of their source."""


@dataclass(frozen=True)
class Images:
    """What an arm made of the test images of one domain, by fold."""

    masks: dict[int, Masks]
    values: dict[int, dict[str, Float[np.ndarray, "_"]]]

    def patients(self, folds: Sequence[int]) -> list[str]:
        """The patient of each image of these folds."""
        return [patient for fold in folds for patient in self.masks[fold].patients]

    def of(self, metric: str, folds: Sequence[int]) -> Float[np.ndarray, "M"]:
        """The metric of each image of these folds; NaN where an image leaves it undefined."""
        return np.concatenate([np.zeros(0), *(self.values[fold][metric] for fold in folds)])


def compute(
    experiment: Mapping[str, Any], arms: Mapping[str, ScoredArm], *, leaving_last: set[str]
) -> list[dict[str, Any]]:
    """One entry a mask label and domain, with a row an arm and a matrix a test.

    Arms in `leaving_last`, and twins, are tested but come last and are no part of the correction:
    they answer another question.
    """
    found = []
    for label in dict.fromkeys(arm.label for arm in arms.values()):
        if (scheme := mask_arms.scheme_of(label)) is None:
            continue
        peers = [arm for arm in arms.values() if arm.label == label]
        last = [a.name for a in peers if a.name in leaving_last or a.name.endswith(TWINS)]
        order = [a.name for a in sorted(peers, key=lambda a: (a.name in last, a.baseline))]
        clean = [name for name in order if name not in last] or order
        for role, names in experiment["domains"].items():
            images = {arm.name: _images(arm, role) for arm in peers}
            metrics = segmentation.PER_IMAGE[scheme]
            seed = [int(experiment.get("seed") or 0), crc32(f"{label}, {role}".encode())]
            found.append(
                {
                    "label": label,
                    "domain": role,
                    "called": [names] if isinstance(names, str) else list(names),
                    "metrics": list(metrics),
                    "arms": [
                        _row(name, own, role, metrics, experiment) for name, own in images.items()
                    ],
                    **_compare({n: images[n] for n in order}, metrics[0], clean, seed),
                }
            )
    return found


def _images(arm: ScoredArm, role: str) -> Images:
    found = {fold: scoring.masks(cell, role) for fold, cell in sorted(arm.cells.items())}
    known = {fold: own for fold, own in found.items() if own is not None and own.clips}
    values = {
        fold: segmentation.compute_metrics(own.counts, own.scheme) for fold, own in known.items()
    }
    return Images(known, values)


def _row(
    name: str, images: Images, role: str, metrics: Sequence[str], experiment: Mapping[str, Any]
) -> dict[str, Any]:
    """Mean and standard deviation of each metric over images, and over patient means."""
    folds = list(images.masks)
    patients = images.patients(folds)
    printed = (experiment.get("published") or {}).get(name, {})
    known = {metric: scoring.named(f"{metric}_per_image", role) for metric in metrics}
    return {
        "name": name,
        "num_images": len(patients),
        "num_patients": len(set(patients)),
        "over_images": {m: spread(images.of(m, folds)) for m in metrics},
        "over_patients": {m: spread(_means(images.of(m, folds), patients)) for m in metrics},
        "published": {m: printed[full] for m, full in known.items() if full in printed},
    }


def spread(values: Float[np.ndarray, "M"]) -> dict[str, float]:
    """Mean, population standard deviation (ddof 0) and number of the values that are defined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return {"mean": float("nan"), "std": float("nan"), "number": 0}
    return {"mean": defined.mean(), "std": defined.std(), "number": len(defined)}


def _means(values: Float[np.ndarray, "M"], patients: Sequence[str]) -> Float[np.ndarray, "P"]:
    """Mean over the images of each patient; patients without a defined image are left out."""
    defined = np.isfinite(values)
    _, index = np.unique(np.array(patients, str)[defined], return_inverse=True)
    return np.bincount(index, weights=values[defined]) / np.bincount(index)


def _compare(
    images: Mapping[str, Images], metric: str, clean: Sequence[str], seed: Sequence[int]
) -> dict[str, Any]:
    """A matrix of p-values for each test, raw and corrected over all pairs of `clean` arms."""
    names = list(images)
    raw = {test: np.full((len(names), len(names)), np.nan) for test in TESTS}
    undefined = []
    for row, one in enumerate(names):
        for column in range(row):
            other = names[column]
            reason, found = _test(one, other, images, metric, seed)
            if reason:
                undefined.append({"one": one, "other": other, "reason": reason})
            for test, p in found.items():
                raw[test][row, column] = raw[test][column, row] = p
    return {
        "tested": metric,
        "order": names,
        "corrected": list(clean),
        "num_draws": NUM_DRAWS,
        "tests": {
            test: {"raw": p, "adjusted": _adjusted(p, len(clean))} for test, p in raw.items()
        },
        "undefined": undefined,
    }


def _test(
    one: str, other: str, images: Mapping[str, Images], metric: str, seed: Sequence[int]
) -> tuple[str, dict[str, float]]:
    """Why two arms cannot be compared, or the p-value of each test."""
    first, second = images[one], images[other]
    folds = [fold for fold in first.masks if fold in second.masks]
    if not folds:
        return "no fold in common has an image", {}
    for fold in folds:
        if first.masks[fold].clips != second.masks[fold].clips:
            return f"tested on different images in fold {fold}", {}
    values, patients = (first.of(metric, folds), second.of(metric, folds)), first.patients(folds)
    rng = np.random.default_rng(list(seed))
    found = {
        "images": significance.t_test(*values),
        "patients": significance.t_test_patients(*values, patients),
        "bootstrap": significance.bootstrap_test(*values, patients, num_draws=NUM_DRAWS, rng=rng),
    }
    return "" if len(set(patients)) > 1 else "one patient", found


def _adjusted(raw: Float[np.ndarray, "A A"], num_clean: int) -> Float[np.ndarray, "A A"]:
    """Holm over the pairs of the first `num_clean` arms; the others are not corrected: NaN."""
    adjusted = np.full_like(raw, np.nan)
    row, column = np.tril_indices(num_clean, k=-1)
    adjusted[row, column] = adjusted[column, row] = significance.holm(raw[row, column])
    return adjusted
