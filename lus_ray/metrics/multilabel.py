"""Metrics of many yes/no labels at once, some of them not judged: the biomarkers.

Letters: N clips, K labels, D leading axes such as draws of a resampling (none for one score).
Targets are 1 (present), 0 (absent) and -1 (not judged, which counts nowhere). Each label is scored
as a problem of two classes over its judged entries, and means are over labels with a defined metric
(Gare 2022, Table 2; it does not state the averaging, but its numbers behave like weighted averages
in which recall equals accuracy).
`trained` marks the labels with both values among the training clips; None for all. The others have
no score and count nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lus_ray.metrics import classification
from lus_ray.metrics.classification import Scores, ratio

MEANS = ("auc", "accuracy", "precision", "recall", "f1")
METRICS = (*MEANS, "group_accuracy", "micro_f1")
"""Means over the labels, then the two metrics that look across labels."""

THRESHOLD = 0.5
"""A label is predicted where its probability is at least this."""


@dataclass(frozen=True)
class MultilabelScores(Scores):
    by_label: Mapping[str, Scores] | None = None
    num_judged: Mapping[str, int] | None = None


def score(
    target: Int[np.ndarray, "N K"],
    probability: Float[np.ndarray, "N K"],
    classes: Sequence[str],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> MultilabelScores:
    """Every metric of `METRICS` for targets 0, 1 or -1 and probabilities of 1.

    `classes` names the labels; "group: level" joins levels into groups for `group_accuracy`.
    Accuracy, precision, recall and F1 of a label need a judged entry, its AUC both values.

    Raises:
        ValueError: the shapes do not fit.
    """
    if target.shape != probability.shape or target.shape[1:] != (len(classes),):
        shapes = f"targets {target.shape}, probabilities {probability.shape}"
        raise ValueError(f"{shapes} and {len(classes)} names do not fit")
    if reason := classification.explain_unusable(probability):
        return MultilabelScores(**vars(classification.undefined_scores(METRICS, reason)))
    num_judged = {name: int((target[:, k] >= 0).sum()) for k, name in enumerate(classes)}
    target = keep_trained(target, trained)
    by_label = {
        name: _score_label(target[:, k], probability[:, k]) for k, name in enumerate(classes)
    }
    values = {m: mean([s.values[m] for s in by_label.values()]) for m in MEANS}
    hits, scored = group_hits(target, probability, group_columns(classes, trained))
    values["group_accuracy"] = float(ratio(hits.sum(), scored.sum()))
    values["micro_f1"] = micro_f1(target, probability)
    return MultilabelScores(
        values,
        {name: REASONS[name] for name, value in values.items() if np.isnan(value)},
        by_label,
        num_judged,
    )


REASONS = {
    **dict.fromkeys(MEANS, "no trained label has a judged entry"),
    "auc": "no trained label has both values among its judged entries",
    "group_accuracy": "no clip has a fully judged group with a level present",
    "micro_f1": "no judged entry is present or predicted",
}
"""Why a metric over all labels is undefined."""


def keep_trained(
    target: Int[np.ndarray, "N K"], trained: Bool[np.ndarray, "K"] | None
) -> Int[np.ndarray, "N K"]:
    """Targets, -1 (not judged) for labels that were not trained."""
    return target if trained is None else np.where(trained, target, -1)


def group_columns(
    classes: Sequence[str], trained: Bool[np.ndarray, "K"] | None = None
) -> list[Int[np.ndarray, "_"]]:
    """Column numbers of trained labels that share the text before their first colon, by group."""
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(classes):
        if trained is None or trained[k]:
            groups.setdefault(name.partition(":")[0], []).append(k)
    return [np.array(columns) for columns in groups.values() if len(columns) > 1]


def group_hits(
    target: Int[np.ndarray, "N K"],
    probability: Float[np.ndarray, "N K"],
    columns: Sequence[Int[np.ndarray, "_"]],
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """By clip: groups whose most probable level is present, and groups that can be scored.

    Scoring needs all levels of a group judged and at least one present; several may be.
    """
    hits, scored = np.zeros(len(target)), np.zeros(len(target))
    for group in columns:
        truth = target[:, group]
        can = (truth >= 0).all(axis=1) & (truth == 1).any(axis=1)
        best = probability[:, group].argmax(axis=1)
        hits += can & (truth[np.arange(len(truth)), best] == 1)
        scored += can
    return hits, scored


def count_positives(
    target: Int[np.ndarray, "N K"], probability: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, "N 2"]:
    """By clip: 2 x true positives, and that plus false positives and false negatives."""
    judged = target >= 0
    present, predicted = (target == 1) & judged, (probability >= THRESHOLD) & judged
    both = (present & predicted).sum(axis=1)
    return np.stack([2 * both, present.sum(axis=1) + predicted.sum(axis=1)], axis=1) * 1.0


def micro_f1(target: Int[np.ndarray, "N K"], probability: Float[np.ndarray, "N K"]) -> float:
    return float(ratio(*count_positives(target, probability).sum(axis=0)))


def label_tables(
    target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]]:
    """Confusion matrix and won pairs of one label over its judged entries."""
    judged = target >= 0
    truth, chance = target[judged].astype(np.int64), probability[judged]
    counts = classification.confusion(truth, (chance >= THRESHOLD).astype(np.int64), num_classes=2)
    won = classification.compare_ranks(chance[truth == 1], chance[truth == 0]).sum()
    return counts, np.array([[0.0, won], [won, 0.0]])


def mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _score_label(target: Int[np.ndarray, "N"], probability: Float[np.ndarray, "N"]) -> Scores:
    counts, won = label_tables(target, probability)
    metrics = classification.compute_metrics(counts, won)
    values = {name: float(metrics[name]) for name in MEANS}
    num_present, num_judged = int(counts[1].sum()), int(counts.sum())
    reasons = {}
    if not num_judged:
        reasons = dict.fromkeys(MEANS, "no entry was judged")
    elif num_present in (0, num_judged):
        which = "present" if num_present else "absent"
        reasons = {"auc": f"{which} in all {num_judged} judged clips; ranking needs both"}
    return Scores(values, reasons)
