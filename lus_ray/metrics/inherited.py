"""Frames that inherit the class of their clip: each of them is one example.

Letters: N clips, K classes, D leading axes such as draws of a resampling (none for one score).
Why beside the metrics of clips: Gare 2021, Table 2, counts some 40,000 frames, each with the
diagnosis of its clip, and says nothing of clips. Frames of a clip are far from independent, which
intervals over patients know and the number of frames does not.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from lus_ray.metrics import classification
from lus_ray.metrics.classification import Scores

INHERITED_CLASS_METRICS = ("frame_precision", "frame_recall", "frame_f1")
"""Metrics that each class has, named with the class behind them: "frame_f1 healthy"."""

_REASONS = {
    "frame_precision": "no frame was said to be {name}",
    "frame_recall": "no frame is {name}",
    "frame_f1": "no frame is {name} or was said to be",
}


def inherited_metrics(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the metrics of frames, all as fractions of 1."""
    by_class = (f"{metric} {name}" for name in classes for metric in INHERITED_CLASS_METRICS)
    return ("frame_accuracy", "frame_macro_f1", *by_class)


def score_inherited(
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    said: Int[np.ndarray, "N K"],
    classes: Sequence[str],
) -> Scores:
    """Every metric of `labels.METRICS` for the clips, and of `of_frames` for their frames.

    `said` counts the frames of each clip by their most probable class. A class that no frame has
    leaves its recall undefined, one that was said of none its precision, and both together its F1;
    `frame_macro_f1` is the plain mean of F1 over the others.
    """
    clips = classification.score(target, probability)
    if reason := classification.explain_unusable(probability):
        own = classification.undefined_scores(inherited_metrics(classes), reason)
    else:
        found = compute_inherited_metrics(inherited_confusion(target, said), classes)
        values = {name: float(value) for name, value in found.items()}
        own = Scores(values, {name: _reason(name) for name in values if np.isnan(values[name])})
    return Scores(clips.values | own.values, clips.undefined | own.undefined)


def compute_inherited_metrics(
    counts: Float[np.ndarray, "*D K K"], classes: Sequence[str]
) -> dict[str, Float[np.ndarray, "*D"]]:
    """Every metric of `of_frames` from confusion matrices of frames (true classes as rows)."""
    by_class = classification.scores_by_class(counts)
    return {
        "frame_accuracy": classification.accuracy(counts),
        "frame_macro_f1": classification.macro_f1(counts),
        **{
            f"{metric} {name}": by_class[metric.removeprefix("frame_")][..., k]
            for k, name in enumerate(classes)
            for metric in INHERITED_CLASS_METRICS
        },
    }


def inherited_confusion(
    target: Int[np.ndarray, "N"], said: Int[np.ndarray, "N K"]
) -> Float[np.ndarray, "K K"]:
    """Number of frames by the class of their clip (rows) and by what was said of them."""
    counts = np.zeros((said.shape[1], said.shape[1]))
    np.add.at(counts, target, said)
    return counts


def _reason(metric: str) -> str:
    kind, _, name = metric.partition(" ")
    return _REASONS[kind].format(name=name)
