"""Arms that outline masks: their counts of pixels, and how their metrics are named and explained.

Letters: N scored frames of all test clips one after another, K classes, B bins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import segmentation
from lus_ray.metrics.calibration import Reliability, reliability_curve

COLUMNS = ("clip", "patient", "domain", "split", "counts", "bins")

LABELS = {
    "dense masks": "Dense masks",
    "sparse masks": "Sparse masks",
    "markers masks": "Marker masks",
    "bline masks": "B-line masks",
}
"""Labels of the mask schemes as they are printed."""

EMPTY_CLASSES = (
    "A class in neither the true nor the predicted mask is undefined and left out of means, "
    "over classes as over images; a class that is predicted but not true scores 0."
)

PER_IMAGE = (
    "mean over test images; the table of single images has every metric so, and every other figure "
    "is counted from the pixels of all test images of a fold together"
)

SMOOTHED = (
    "masks of the experts went through a median filter of {} pixels before anything was held "
    "against them, as in the released evaluation; networks learned from them as they were drawn"
)

BOOSTED = (
    "the probabilities of the classes are multiplied before the most probable one is taken, by "
    "factors that nothing in this run has chosen; calibration is that of the plain ones ({})"
)

_MEANINGS = {
    "pixel_accuracy": "share of pixels whose class is right",
    "mean_iou": "mean of IoU over the classes, background among them",
    "iou": "pixels in both masks over pixels in either",
    "dice": "twice the pixels in both masks over the sum of their pixels",
    "union_dice": "Dice of the union of scores 1, 2 and 3 against all else",
    "categorical_dice": "mean of the Dice of scores 0, 2 and 3",
    "sensitivity": "share of the B-line pixels that were found",
    "specificity": "share of the other pixels that were left alone",
}

_NAMES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_iou": "mean IoU",
    "union_dice": "Dice, scores 1-3",
    "categorical_dice": "categorical Dice",
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def scheme_of(label: str | None) -> str | None:
    """The mask scheme of a label such as "dense masks"; None for any other label."""
    return (label or "").removesuffix(" masks") if label in LABELS else None


def name(metric: str) -> str | None:
    """A metric as it is printed: `iou A-line` is "A-line IoU"; None for one of no mask.

    A domain stays behind it: `dice_per_image, covid` is "Dice per image, covid".
    """
    whole, comma, role = metric.partition(", ")
    pooled = whole.removesuffix("_per_image")
    kind, _, of = pooled.partition(" ")
    printed = _NAMES.get(pooled)
    if of and kind in ("iou", "dice"):
        printed = f"{of} {'IoU' if kind == 'iou' else 'Dice'}"
    if printed is None:
        return None
    return printed + (" per image" if pooled != whole else "") + comma + role


def explained(metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Name and meaning of these metrics, one line for all classes, then what holds for each."""
    found: dict[str, str] = {}
    for metric in metrics:
        pooled = metric.partition(", ")[0].removesuffix("_per_image")
        kind, _, of = pooled.partition(" ")
        title = ("IoU" if kind == "iou" else "Dice") + " of a class" if of else name(pooled) or ""
        found[title] = _MEANINGS[kind]
    return [*found.items(), ("per image", PER_IMAGE), ("empty classes", EMPTY_CLASSES)]


def notes(experiment: Mapping[str, Any]) -> dict[str, str]:
    """How masks were decided and what they were held against, where an arm says so."""
    arguments = {e["name"]: e.get("task", {}).get("arguments", {}) for e in experiment["arms"]}
    found = {}
    if sides := sorted({given["smooth"] for given in arguments.values() if given.get("smooth")}):
        squares = " or ".join(f"{side} × {side}" for side in sides)
        found["smoothed"] = SMOOTHED.format(squares)
    boosts = {name: given["boost"] for name, given in arguments.items() if given.get("boost")}
    if boosts:
        factors = "; ".join(f"{name}: {', '.join(map(str, b))}" for name, b in boosts.items())
        found["boosted"] = BOOSTED.format(factors)
    return found


def counts(rows: pa.Table, scheme: str) -> Int[np.ndarray, "N K K"]:
    """Confusion matrices of the scored frames, straight from Arrow, true classes by row.

    Raises:
        ValueError: an unknown scheme, a matrix of other classes, or counts below 0.
    """
    if scheme not in MASK_SCHEMES:
        raise ValueError(f"no mask scheme {scheme!r}")
    num_classes = len(MASK_SCHEMES[scheme])
    matrices = rows["counts"].combine_chunks().flatten()
    lengths = pc.unique(pc.list_value_length(matrices)).to_pylist()
    if lengths not in ([], [num_classes**2]):
        raise ValueError(f"counts of {lengths} pairs of the {num_classes} classes of {scheme!r}")
    values = matrices.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    if len(values) and values.min() < 0:
        raise ValueError("counts of pixels below 0")
    return values.reshape(len(matrices), num_classes, num_classes)


def num_frames(rows: pa.Table) -> Int[np.ndarray, "C"]:
    """Scored frames of each clip."""
    lengths = pc.list_value_length(rows["counts"].combine_chunks())
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def bins(rows: pa.Table) -> Float[np.ndarray, "B 3"] | None:
    """Histograms of confidences summed over the clips; None where no clip has one.

    Raises:
        ValueError: histograms differ in their bins.
    """
    known = [own for own in rows["bins"].to_pylist() if own]
    return np.sum(np.array(known, np.float64), axis=0) if known else None


def pooled(cells: Sequence[Any]) -> Reliability | None:
    """Confidence against correctness of the pixels of several cells."""
    known = [cell.bins for cell in cells if cell.bins is not None]
    return reliability_curve(np.sum(known, axis=0)) if known else None


def per_image(
    counts: Sequence[Int[np.ndarray, "_ K K"]], scheme: str
) -> dict[str, Mapping[str, float]]:
    """Mean, standard deviation and number of images of every metric of single images.

    Over the images of all folds; where folds share a test set an image counts once a fold.
    """
    found = segmentation.spread_over_images(np.concatenate(list(counts)), scheme)
    return {metric: vars(spread) for metric, spread in found.items()}
