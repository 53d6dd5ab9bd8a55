"""Metrics of masks, from confusion matrices of pixels.

Letters: N images, H rows, W columns, K classes, J classes after merging, D leading axes such as
images or draws of a resampling (none for one score).
Why from counts: resampled patients reweight the sum of the matrices of their images. No mask is
kept.

A class in neither mask is undefined (NaN) and left out of means over classes and over images. A
class that is predicted but not true scores 0.
`trained` marks the classes that a model was trained on; None for all. The others have no score of
their own, and means over classes leave them out. Pixel accuracy counts every pixel.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real, UInt8

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics.classification import Scores, accuracy, class_f1, keep_trained, ratio

MARKERS = MASK_SCHEMES["markers"]
UNION = tuple(MARKERS.index(f"score {score}") for score in (1, 2, 3))
"""Classes whose union is "Dice" in the table of markers (Roy 2020, Table IV)."""
CATEGORICAL = tuple(MARKERS.index(f"score {score}") for score in (0, 2, 3))
"""Classes whose mean is "Cat. Dice" in the same table; the released code leaves score 1 out."""

PER_IMAGE = {
    "dense": ("mean_iou",),
    "sparse": ("mean_iou",),
    "markers": ("union_dice",),
    "bline": ("dice", "sensitivity", "specificity"),
}
"""Metrics that `score` also averages over images, with the suffix `_per_image`."""


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation (ddof 0) over the images that define a metric."""

    mean: float
    std: float
    num_images: int


def count_pixels(
    target: UInt8[np.ndarray, "N H W"], predicted: UInt8[np.ndarray, "N H W"], *, num_classes: int
) -> Int[np.ndarray, "N K K"]:
    """Number of pixels of each image by true class (rows) and predicted class (columns).

    Raises:
        ValueError: the masks differ in shape, are not uint8, or hold a class beyond `num_classes`.
    """
    if target.ndim != 3 or target.shape != predicted.shape:
        raise ValueError(f"true masks {target.shape} and predicted masks {predicted.shape}")
    for which, masks in (("true", target), ("predicted", predicted)):
        if masks.dtype != np.uint8:
            raise ValueError(f"{which} masks are {masks.dtype}; class ids are uint8")
        if masks.size and masks.max() >= num_classes:
            raise ValueError(f"{which} masks hold class {masks.max()} of {num_classes} classes")
    counts = np.empty((len(target), num_classes**2), np.int64)
    # One image at a time: bincount needs eight bytes per pixel. 16 bits hold 256 x 256 pairs.
    for image, (truth, guess) in enumerate(zip(target, predicted, strict=True)):
        index = truth.astype(np.uint16) * np.uint16(num_classes) + guess
        counts[image] = np.bincount(index.ravel(), minlength=num_classes**2)
    return counts.reshape(-1, num_classes, num_classes)


def score(
    counts: Real[np.ndarray, "N K K"], scheme: str, trained: Bool[np.ndarray, "K"] | None = None
) -> Scores:
    """Every metric of `METRICS[scheme]`, as the papers print them.

    Over the whole data set (as in Roy 2020; the dense-label study does not say), and as means over
    images for those in `PER_IMAGE` (as in the B-line study).

    Raises:
        ValueError: an unknown scheme, or counts of another number of classes.
    """
    pooled = compute_metrics(counts.sum(axis=0), scheme, trained)
    values = {name: float(value) for name, value in pooled.items()}
    by_image = compute_metrics(counts, scheme, trained)
    for name in PER_IMAGE[scheme]:
        values[f"{name}_per_image"] = float(mean_of_defined(by_image[name]))
    undefined = [name for name, value in values.items() if np.isnan(value)]
    if not counts.any():
        return Scores(values, dict.fromkeys(undefined, "no image was tested"))
    reasons = {name: _reason(name, scheme) for name in undefined}
    if trained is not None:
        possible = compute_metrics(np.ones_like(counts[0]), scheme, trained)
        never = {name for name, value in possible.items() if np.isnan(value)}
        reasons |= {
            name: f"no training mask has {_classes_of(name, scheme)}"
            for name in undefined
            if name.removesuffix("_per_image") in never
        }
    return Scores(values, reasons)


def compute_metrics(
    counts: Real[np.ndarray, "*D K K"],
    scheme: str,
    trained: Bool[np.ndarray, "*#D K"] | None = None,
) -> dict[str, Float[np.ndarray, "*D"]]:
    """Every pooled metric of `METRICS[scheme]`.

    Raises:
        ValueError: an unknown scheme, or counts of another number of classes.
    """
    classes = _classes(counts, scheme)
    if scheme == "bline":
        is_trained = None if trained is None else trained[..., 1]
        of_bline = {
            "dice": dice(counts)[..., 1],
            "sensitivity": sensitivity(counts),
            "specificity": specificity(counts),
        }
        return {name: keep_trained(values, is_trained) for name, values in of_bline.items()}
    if scheme == "markers":
        by_class = keep_trained(dice(counts), trained)
        is_trained = None if trained is None else np.asarray(trained[..., list(UNION)].any(axis=-1))
        return {
            "pixel_accuracy": accuracy(counts),
            "union_dice": keep_trained(union_dice(counts, UNION), is_trained),
            "categorical_dice": mean_of_defined(by_class[..., list(CATEGORICAL)]),
            **{f"dice {name}": by_class[..., k] for k, name in enumerate(classes)},
        }
    by_class = keep_trained(iou(counts), trained)
    return {
        "pixel_accuracy": accuracy(counts),
        "mean_iou": mean_of_defined(by_class),
        **{f"iou {name}": by_class[..., k] for k, name in enumerate(classes)},
        **{
            f"{kind} {name}": keep_trained(of_classes(counts), trained)[..., k]
            for kind, of_classes in (("precision", precisions), ("specificity", specificities))
            for k, name in enumerate(classes)
        },
    }


def spread_over_images(
    counts: Real[np.ndarray, "N K K"], scheme: str, trained: Bool[np.ndarray, "N K"] | None = None
) -> dict[str, Spread]:
    """Every metric of `compute_metrics` over the images that define it."""
    spreads = {}
    for name, values in compute_metrics(counts, scheme, trained).items():
        defined = values[np.isfinite(values)]
        mean, std = (defined.mean(), defined.std()) if len(defined) else (np.nan, np.nan)
        spreads[name] = Spread(float(mean), float(std), len(defined))
    return spreads


def merge_classes(
    counts: Real[np.ndarray, "*D K K"], mapping: Sequence[int]
) -> Real[np.ndarray, "*D J J"]:
    """Counts of merged classes: class k becomes `mapping[k]`, in truth and prediction alike.

    Raises:
        ValueError: `mapping` has not one entry 0 or more for each class.
    """
    if len(mapping) != counts.shape[-1] or min(mapping, default=0) < 0:
        raise ValueError(f"mapping {tuple(mapping)} for {counts.shape[-1]} classes")
    member = np.eye(max(mapping) + 1, dtype=counts.dtype)[list(mapping)]
    return member.T @ counts @ member


def iou(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D K"]:
    """Intersection over union of each class; NaN for a class in neither mask."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    return ratio(both, counts.sum(axis=-1) + counts.sum(axis=-2) - both)


def dice(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D K"]:
    """Dice, 2 |P and G| / (|P| + |G|), of each class: the F1 of its pixels."""
    return class_f1(counts)


def precisions(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D K"]:
    """Share of the pixels of each predicted class that have it; 0 where all of a class is missed.

    NaN for a class in neither mask.
    """
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    predicted = counts.sum(axis=-2)
    share = ratio(both, predicted)
    return np.where((predicted == 0) & (counts.sum(axis=-1) > 0), 0.0, share)


def specificities(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D K"]:
    """1 minus the false-positive rate of each class; NaN where every true pixel has the class."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    others = counts.sum(axis=(-2, -1))[..., None] - counts.sum(axis=-1)
    return 1 - ratio(counts.sum(axis=-2) - both, others)


def union_dice(
    counts: Real[np.ndarray, "*D K K"], classes: Collection[int]
) -> Float[np.ndarray, "*D"]:
    """Dice of the union of several classes against all others."""
    return dice(merge_classes(counts, [int(k in classes) for k in range(counts.shape[-1])]))[..., 1]


def sensitivity(counts: Real[np.ndarray, "*D 2 2"]) -> Float[np.ndarray, "*D"]:
    """Share of the pixels of class 1 that were found; NaN where the truth has none."""
    return ratio(counts[..., 1, 1], counts[..., 1, :].sum(axis=-1))


def specificity(counts: Real[np.ndarray, "*D 2 2"]) -> Float[np.ndarray, "*D"]:
    """Share of the pixels of class 0 that were left alone; NaN where the truth has none."""
    return ratio(counts[..., 0, 0], counts[..., 0, :].sum(axis=-1))


def mean_of_defined(values: Float[np.ndarray, "*D M"]) -> Float[np.ndarray, "*D"]:
    """Mean over the last axis without its NaN; NaN where nothing else is there."""
    return ratio(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))


def _classes(counts: Real[np.ndarray, "*D K K"], scheme: str) -> tuple[str, ...]:
    if scheme not in MASK_SCHEMES:
        raise ValueError(f"no mask scheme {scheme!r}; use one of {tuple(MASK_SCHEMES)}")
    classes = MASK_SCHEMES[scheme]
    if counts.shape[-2:] != (len(classes), len(classes)):
        raise ValueError(f"counts {counts.shape} for the {len(classes)} classes of {scheme!r}")
    return classes


def _reason(metric: str, scheme: str) -> str:
    name = metric.removesuffix("_per_image")
    if name == "sensitivity":
        return "no true mask has B-line"
    if name == "specificity":
        return "every true pixel is B-line"
    return f"no true and no predicted mask has {_classes_of(name, scheme)}"


def _classes_of(metric: str, scheme: str) -> str:
    """The classes that a metric is of, in words."""
    wanted = {
        "union_dice": "score 1, 2 or 3",
        "categorical_dice": "score 0, 2 or 3",
        **dict.fromkeys(("dice", "sensitivity", "specificity"), MASK_SCHEMES[scheme][-1]),
    }
    name = metric.removesuffix("_per_image")
    return wanted.get(name, name.partition(" ")[2])


METRICS = {
    scheme: tuple(score(np.zeros((0, len(classes), len(classes))), scheme).values)
    for scheme, classes in MASK_SCHEMES.items()
}
"""Names of the metrics of `score` by mask scheme, all as fractions of 1."""
