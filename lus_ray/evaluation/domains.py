"""Mask arms on each domain: spread over images and over patients, and paired tests of all pairs.

Shapes: M test images of one domain, fold after fold, A arms, P patients.
Why beside the tables of folds: a study of two domains reports mean and standard deviation over all
test images and tests its arms on those. Where folds share a test set, an image counts once a fold.
Of several training seeds, the value of an image is its mean over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation import mask_arms, scoring
from lus_ray.evaluation.results import CellResult, RunResults
from lus_ray.evaluation.schema import DomainArm, DomainResult, DomainSpread, PValues, UntestedPair
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.evaluation.scoring import MaskCounts
from lus_ray.metrics import segmentation, significance

NUM_DRAWS = 10_000
"""Draws of patients behind a p-value; with 1,000 none of 50 corrected p-values falls below 0.05."""

TESTS = ("images", "patients", "bootstrap")
"""Paired over images, paired over patients, and by resampled patients."""

COUNTERPARTS = (", validated", ", translated")
"""Suffixes of arms that vary a published one: with a validation patient, or the same networks on
translated frames of their source."""


@dataclass(frozen=True)
class DomainImages:
    masks: dict[int, MaskCounts]
    values: dict[int, dict[str, Float[np.ndarray, "_"]]]

    def patients(self, folds: Sequence[int]) -> list[str]:
        return [patient for fold in folds for patient in self.masks[fold].patients]

    def metric(self, name: str, folds: Sequence[int]) -> Float[np.ndarray, "M"]:
        """A metric of each image of these folds; NaN where an image leaves it undefined."""
        return np.concatenate([np.zeros(0), *(self.values[fold][name] for fold in folds)])


def compare_all(run: RunResults, arms: Arms) -> tuple[DomainResult, ...]:
    """One result per mask label and domain.

    Arms that leak and counterparts of published arms come last, because they answer another
    question. Holm corrects over the paper's own comparisons: all pairs of a dozen arms would hide
    what a few patients can show.
    """
    results = []
    for label in dict.fromkeys(arm.label for arm in arms.values()):
        if (scheme := mask_arms.scheme_of(label)) is None or label is None:
            continue
        peers = [arm for arm in arms.values() if arm.label == label]
        last = [a.name for a in peers if a.name in run.leaks or a.name.endswith(COUNTERPARTS)]
        order = [a.name for a in sorted(peers, key=lambda a: (a.name in last, a.baseline))]
        main = [name for name in order if name not in last] or order
        metrics = segmentation.PER_IMAGE[scheme]
        for role, names in run.record.domains.items():
            images = {arm.name: _images(arm, role) for arm in peers}
            ordered = {name: images[name] for name in order}
            seed = [run.record.seed or 0, crc32(f"{label}, {role}".encode())]
            raw, undefined = _test_pairs(ordered, metrics[0], seed)
            metric = scoring.for_role(f"{metrics[0]}_per_image", role)
            claims = [
                claim
                for claim in run.record.claims
                if claim.metric == metric and {claim.better, claim.than} <= images.keys()
            ]
            compared = [(c.better, c.than) for c in claims] or list(combinations(main, 2))
            results.append(
                DomainResult(
                    label=label,
                    domain=role,
                    called=names,
                    metrics=tuple(metrics),
                    arms=tuple(
                        _domain_arm(name, own, role, metrics, run.record.published.get(name, {}))
                        for name, own in images.items()
                    ),
                    tested=metrics[0],
                    order=tuple(order),
                    main=tuple(main),
                    compared=tuple(compared),
                    printed_p=tuple(claim.printed_p for claim in claims),
                    num_draws=NUM_DRAWS,
                    tests={
                        test: PValues(raw=p.tolist(), adjusted=_adjust(p, order, compared).tolist())
                        for test, p in raw.items()
                    },
                    undefined=tuple(undefined),
                )
            )
    return tuple(results)


def _images(arm: ScoredArm, role: str) -> DomainImages:
    selected = {fold: scoring.select_masks(cell, role) for fold, cell in sorted(arm.cells.items())}
    masks = {fold: own for fold, own in selected.items() if own is not None and own.clips}
    return DomainImages(masks, {f: _mean_over_seeds(arm.cells[f], role) for f in masks})


def _mean_over_seeds(cell: CellResult, role: str) -> dict[str, Float[np.ndarray, "_"]]:
    by_seed = [scoring.select_masks(own, role) for own in cell.by_seed.values()]
    known = [segmentation.compute_metrics(m.counts, m.scheme, m.trained) for m in by_seed if m]
    return {
        metric: segmentation.mean_of_defined(np.stack([own[metric] for own in known], axis=-1))
        for metric in known[0]
    }


def _domain_arm(
    name: str, images: DomainImages, role: str, metrics: Sequence[str], published: Mapping[str, Any]
) -> DomainArm:
    folds = list(images.masks)
    patients = images.patients(folds)
    values = {metric: images.metric(metric, folds) for metric in metrics}
    known = {metric: scoring.for_role(f"{metric}_per_image", role) for metric in metrics}
    return DomainArm(
        name=name,
        num_images=len(patients),
        num_patients=len(set(patients)),
        over_images={m: _spread(own) for m, own in values.items()},
        over_patients={
            m: _spread(significance.patient_means(own, patients)) for m, own in values.items()
        },
        published={m: published[full] for m, full in known.items() if full in published},
    )


def _spread(values: Float[np.ndarray, "M"]) -> DomainSpread:
    defined = values[np.isfinite(values)]
    mean, std = (defined.mean(), defined.std()) if len(defined) else (None, None)
    return DomainSpread(mean=mean, std=std, number=len(defined))


def _test_pairs(
    images: Mapping[str, DomainImages], metric: str, seed: Sequence[int]
) -> tuple[dict[str, Float[np.ndarray, "A A"]], list[UntestedPair]]:
    names = list(images)
    raw = {test: np.full((len(names), len(names)), np.nan) for test in TESTS}
    untested = []
    for row, one in enumerate(names):
        for column, other in enumerate(names[:row]):
            reason, p_values = _test(images[one], images[other], metric, seed)
            if reason:
                untested.append(UntestedPair(one=one, other=other, reason=reason))
            for test, p in p_values.items():
                raw[test][row, column] = raw[test][column, row] = p
    return raw, untested


def _test(
    one: DomainImages, other: DomainImages, metric: str, seed: Sequence[int]
) -> tuple[str, dict[str, float]]:
    folds = [fold for fold in one.masks if fold in other.masks]
    if not folds:
        return "no fold in common has an image", {}
    for fold in folds:
        if one.masks[fold].clips != other.masks[fold].clips:
            return f"tested on different images in fold {fold}", {}
    values = (one.metric(metric, folds), other.metric(metric, folds))
    patients = one.patients(folds)
    rng = np.random.default_rng(list(seed))
    p_values = {
        "images": significance.t_test(*values),
        "patients": significance.t_test_patients(*values, patients),
        "bootstrap": significance.bootstrap_test(*values, patients, num_draws=NUM_DRAWS, rng=rng),
    }
    return "" if len(set(patients)) > 1 else "one patient", p_values


def _adjust(
    raw: Float[np.ndarray, "A A"], order: Sequence[str], compared: Sequence[tuple[str, str]]
) -> Float[np.ndarray, "A A"]:
    """Holm over the compared pairs; NaN for all others."""
    adjusted = np.full_like(raw, np.nan)
    pairs = np.array([[order.index(name) for name in pair] for pair in compared], int)
    row, column = pairs.reshape(-1, 2).T
    adjusted[row, column] = adjusted[column, row] = significance.holm(raw[row, column])
    return adjusted
