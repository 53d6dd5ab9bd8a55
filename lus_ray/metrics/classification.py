"""Metrics of one label with K classes: confusion, accuracy, precision, F1, AUC.

Letters: N clips, K classes, D leading axes such as draws of a resampling (none for one score).
Every metric is a formula on the confusion matrix and the number of won pairs, so that resampling
patients reweights tables instead of clips. An undefined metric is NaN with a reason.
`trained` marks the classes that a model was trained on; None for all. The others have no score of
their own, and averages over classes leave them out. Accuracy and kappa count every clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, Real

METRICS = ("auc", "accuracy", "precision", "recall", "f1", "macro_f1", "weighted_kappa")
"""Names of the metrics of `score`, as fractions of 1. `weighted_kappa` is meaningful for ordered
classes, such as severities, and not for names, such as diseases."""

NOT_TRAINED = "no training clip has the class of a test clip"
NO_CHANCE = "all targets and predictions are of one class; kappa needs two"


@dataclass(frozen=True)
class Scores:
    """Metrics by name; an undefined one is NaN, and `undefined` says why."""

    values: dict[str, float]
    undefined: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> float:
        return self.values[metric]


def score(
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    trained: Bool[np.ndarray, "K"] | None = None,
    classes: Sequence[str] | None = None,
) -> Scores:
    """Every metric of `METRICS` for class indices 0..K-1 and class probabilities.

    The predicted class is the most probable one, the first of equals. Averages are those of
    scikit-learn (Gare 2022 reports them): "weighted" by the support of a class, `macro_f1` over
    the classes that occur among targets or predictions, AUC as in `pairwise_auc`.

    Raises:
        ValueError: the shapes do not fit, or a target lies outside 0..K-1.
    """
    check_arrays(target, probability)
    if reason := explain_unusable(probability):
        return undefined_scores(METRICS, reason)
    num_classes = probability.shape[1]
    counts = confusion(target, probability.argmax(axis=1), num_classes=num_classes)
    metrics = compute_metrics(counts, count_wins(target, probability), trained)
    values = {name: float(value) for name, value in metrics.items()}
    reasons = {name: NOT_TRAINED for name, value in values.items() if np.isnan(value)}
    if np.isnan(values["auc"]):
        reasons["auc"] = f"{NOT_TRAINED}; ranking needs two trained classes"
        if len(np.unique(target)) == 1:
            name = classes[target[0]] if classes else target[0]
            reasons["auc"] = f"all {len(target)} clips have class {name}; ranking needs two classes"
    if np.isnan(values["weighted_kappa"]):
        reasons["weighted_kappa"] = NO_CHANCE
    return Scores(values, reasons)


def compute_metrics(
    counts: Real[np.ndarray, "*D K K"],
    won: Float[np.ndarray, "*D K K"],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> dict[str, Float[np.ndarray, "*D"]]:
    known = drop_untrained(counts, trained)
    return {
        "auc": pairwise_auc(won, known.sum(axis=-1)),
        "accuracy": accuracy(counts),
        "precision": weighted_precision(counts, trained),
        "recall": accuracy(known),  # weighted by support, recall is accuracy
        "f1": weighted_f1(counts, trained),
        "macro_f1": macro_f1(counts, trained),
        "weighted_kappa": weighted_kappa(counts),
    }


def confusion(
    target: Int[np.ndarray, "N"], predicted: Int[np.ndarray, "N"], *, num_classes: int
) -> Float[np.ndarray, "K K"]:
    """Number of clips by true class (rows) and predicted class (columns)."""
    flat = np.bincount(target * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.float64)


def count_wins(
    target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "K K"]:
    """Entry (a, b): pairs of a clip of class a and one of class b that column a ranks correctly.

    A tie counts one half (Mann-Whitney).
    """
    num_classes = probability.shape[1]
    member = np.eye(num_classes)[target]
    won = np.zeros((num_classes, num_classes))
    for k in range(num_classes):
        won[k] = compare_ranks(probability[target == k, k], probability[:, k]).sum(axis=0) @ member
    return won


def compare_ranks(
    high: Float[np.ndarray, "N"], low: Float[np.ndarray, "M"]
) -> Float[np.ndarray, "N M"]:
    """1 where high[i] > low[j], 1/2 where they are equal, 0 else."""
    return 0.5 * (1.0 + np.sign(high[:, None] - low[None, :]))


def accuracy(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D"]:
    return ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def drop_untrained(
    counts: Real[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None
) -> Real[np.ndarray, "*D K K"]:
    """The confusion matrix of the clips of trained classes."""
    return counts if trained is None else counts * trained[:, None]


def weighted_precision(
    counts: Real[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None = None
) -> Float[np.ndarray, "*D"]:
    """Precision by class, weighted by support; a class that is never predicted has precision 0."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _weighted(ratio(hits, counts.sum(axis=-2)), counts, trained)


def weighted_f1(
    counts: Real[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None = None
) -> Float[np.ndarray, "*D"]:
    return _weighted(class_f1(counts), counts, trained)


def macro_f1(
    counts: Real[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None = None
) -> Float[np.ndarray, "*D"]:
    """Plain mean of F1 over the classes that occur among targets or predictions."""
    by_class = keep_trained(class_f1(counts), trained)
    return ratio(np.nansum(by_class, axis=-1), np.isfinite(by_class).sum(axis=-1))


def class_f1(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D K"]:
    """F1 of each class; NaN for a class that is neither a target nor predicted."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return ratio(2 * hits, counts.sum(axis=-1) + counts.sum(axis=-2))


def keep_trained(
    by_class: Float[np.ndarray, "..."], trained: Bool[np.ndarray, "..."] | None
) -> Float[np.ndarray, "..."]:
    """Scores of each class; NaN for a class that was not trained."""
    return by_class if trained is None else np.where(trained, by_class, np.nan)


def scores_by_class(
    counts: Real[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None = None
) -> dict[str, Float[np.ndarray, "*D K"]]:
    """Precision, recall and F1 of each class; NaN where a class is not predicted, or not true."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    by_metric = {
        "precision": ratio(hits, counts.sum(axis=-2)),
        "recall": ratio(hits, counts.sum(axis=-1)),
        "f1": class_f1(counts),
    }
    return {name: keep_trained(values, trained) for name, values in by_metric.items()}


def weighted_kappa(counts: Real[np.ndarray, "*D K K"]) -> Float[np.ndarray, "*D"]:
    """Agreement beyond chance of ordered classes, at most 1 (Cohen 1968).

    A disagreement of d classes has weight d squared, whether classes between occur or not. NaN for
    a single class, or without clips.
    """
    classes = np.arange(counts.shape[-1])
    weight = (classes[:, None] - classes[None, :]) ** 2.0
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    by_chance = np.einsum("...a,ab,...b->...", true, weight, predicted)
    observed = (counts * weight).sum(axis=(-2, -1)) * true.sum(axis=-1)
    return ratio(by_chance - observed, by_chance)


def pairwise_auc(
    won: Float[np.ndarray, "*D K K"], support: Float[np.ndarray, "*D K"]
) -> Float[np.ndarray, "*D"]:
    """AUC over pairs of classes, weighted by the prevalence of the pair (Hand and Till 2001).

    Equal to `roc_auc_score(multi_class="ovo", average="weighted")`, and for two classes to the
    plain AUC. Classes without clips are left out; NaN where fewer than two classes remain.
    """
    pairs = support[..., :, None] * support[..., None, :]
    off_diagonal = ~np.eye(support.shape[-1], dtype=bool)
    present = (pairs > 0) & off_diagonal
    prevalence = np.where(present, support[..., :, None] + support[..., None, :], 0.0)
    area = np.divide(won, pairs, out=np.zeros_like(won), where=present)
    return ratio((area * prevalence).sum(axis=(-2, -1)), prevalence.sum(axis=(-2, -1)))


def check_arrays(target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N K"]) -> None:
    """Raise ValueError if shapes do not match or a target lies outside 0..K-1."""
    if target.ndim != 1 or probability.shape[:1] != target.shape or probability.ndim != 2:
        raise ValueError(f"targets {target.shape} and probabilities {probability.shape} do not fit")
    if len(target) and not 0 <= target.min() <= target.max() < probability.shape[1]:
        raise ValueError(
            f"targets {target.min()}..{target.max()} for {probability.shape[1]} classes"
        )


def explain_unusable(probability: Float[np.ndarray, "N K"], item: str = "clip") -> str:
    """Why these probabilities cannot be scored; empty if they can."""
    if not len(probability):
        return f"no {item} was tested"
    bad = int((~np.isfinite(probability)).any(axis=1).sum())
    if bad:
        return f"{bad} of {len(probability)} {item}s have a probability that is not a number"
    return ""


def undefined_scores(metrics: Sequence[str], reason: str) -> Scores:
    return Scores(dict.fromkeys(metrics, float("nan")), dict.fromkeys(metrics, reason))


def ratio(above: np.ndarray | np.number, below: np.ndarray | np.number) -> np.ndarray:
    """`above / below`; NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _weighted(
    by_class: Float[np.ndarray, "*D K"],
    counts: Real[np.ndarray, "*D K K"],
    trained: Bool[np.ndarray, "K"] | None,
) -> Float[np.ndarray, "*D"]:
    support = drop_untrained(counts, trained).sum(axis=-1)
    return ratio((np.nan_to_num(by_class) * support).sum(axis=-1), support.sum(axis=-1))
