"""Metrics of frames: scored one by one, and as heirs of the class of their clip.

Letters: N frames of all test clips one after another, C clips, K scores, S settings,
T frames of one clip, D leading axes such as draws of a resampling (none for one score).
Why settings: a frame close to a change of score is hard to label, and a clip on which raters
disagree has no one truth. Each setting scores the same predictions on fewer frames, which labels
and raters alone decide (Roy 2020, Table I). Gare 2021 (Table 2) counts frames by the class of
their clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from lus_ray.metrics import classification
from lus_ray.metrics import rater_agreement as raters
from lus_ray.metrics.classification import Scores

REACHES = {"k1": 1, "k3": 3, "k5": 5, "k7": 7}
"""Setting 2: frames left out on each side of a change of score."""

VOTES = {"a3": 3, "a4": 4}
"""Setting 3: raters who must agree on the score of a clip."""

SETTINGS = ("setting_1", *REACHES, "video_annotated", *VOTES)
"""All frames; frames away from a change of score; frames of clips with raters; of those whose
raters agree."""

SCORE_3 = 3
RECALL_3 = "recall_score_3"

METRICS = (*SETTINGS, "average", "accuracy", "f1", "macro_f1", "weighted_kappa", RECALL_3)
"""Names of the metrics of `score`, all as fractions of 1."""

_INHERITED_REASONS = {
    "frame_precision": "no frame was predicted as {name}",
    "frame_recall": "no frame is {name}",
    "frame_f1": "no frame is {name} or was predicted as such",
}
_UNTRAINED = "no training clip is {name}"
INHERITED_CLASS_METRICS = tuple(_INHERITED_REASONS)
"""Metrics of each class, with its name behind them: "frame_f1 healthy"."""

NO_SCORE_3 = "no test frame has score 3"
NOT_TRAINED = "no training frame has the score of a test frame"

ROUNDING = 1e-6
"""Averages of float32 may be outside [0, 1] by this much."""


@dataclass(frozen=True)
class FrameSelection:
    """The frames that each setting scores, and why a setting scores none.

    Raises:
        ValueError: `kept` has not one row a setting, or what it leaves empty has no reason.
    """

    kept: Bool[np.ndarray, "S N"]
    undefined: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kept.shape[:1] != (len(SETTINGS),):
            raise ValueError(f"{self.kept.shape[:1]} rows for {len(SETTINGS)} settings")
        empty = {name for name, row in zip(SETTINGS, self.kept, strict=True) if not row.any()}
        if empty != set(self.undefined):
            raise ValueError(f"empty are {sorted(empty)}, undefined are {sorted(self.undefined)}")


def select_frames(
    frame_severity: Sequence[Sequence[int]], raters: Sequence[Sequence[int] | None]
) -> FrameSelection:
    """Which frames of the clips each of `SETTINGS` scores (Roy 2020, Table I).

    `frame_severity` has the scores of the frames of each clip in the order of time, `raters` the
    scores that raters gave to the whole clip, null or empty where nobody rated it. Where clips
    have unequal numbers of raters, votes cannot be compared and "a3", "a4" are undefined.

    Raises:
        ValueError: the two differ in length, or a clip has no frames.
    """
    if len(frame_severity) != len(raters):
        raise ValueError(f"frames of {len(frame_severity)} clips and raters of {len(raters)}")
    for clip, severity in enumerate(frame_severity):
        if not len(severity):
            raise ValueError(f"clip {clip} (counted from 0) has no frames; leave it out")
    num_frames = [len(severity) for severity in frame_severity]
    kept = {"setting_1": np.ones(sum(num_frames), bool)}
    reasons = {"setting_1": "no frame was tested"}
    for name, reach in REACHES.items():
        kept[name] = np.concatenate(
            [np.zeros(0, bool), *(find_steady(np.asarray(s), reach) for s in frame_severity)]
        )
        reasons[name] = f"every frame is within {reach} of a change of score"
    for name, (clips, reason) in _chosen_clips(raters).items():
        kept[name], reasons[name] = np.repeat(clips, num_frames), reason
    return FrameSelection(
        np.stack([kept[name] for name in SETTINGS]),
        {name: reasons[name] for name in SETTINGS if not kept[name].any()},
    )


def score(
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    members: FrameSelection,
    trained: Bool[np.ndarray, "K"] | None = None,
) -> Scores:
    """Every metric of `METRICS` for scores 0..K-1 and their probabilities.

    The predicted score is the most probable one, the first of equals. Each of `SETTINGS` is the
    micro F1 over the frames it keeps, which for one label a frame is the accuracy; the paper
    prints it as "F1". `average` is the plain mean of the eight, undefined unless all are defined.
    The others are over all frames: `accuracy` (setting 1 again), `f1` weighted by support,
    `macro_f1` over the scores that occur, `weighted_kappa` with quadratic weights, and
    `recall_score_3`, the share of frames of score 3 that are predicted as such.

    Raises:
        ValueError: the shapes do not fit, or a target lies outside 0..K-1.
    """
    classification.check_arrays(target, probability)
    if members.kept.shape[1] != len(target):
        raise ValueError(f"settings of {members.kept.shape[1]} frames for {len(target)} targets")
    if reason := explain_unusable(probability):
        return classification.undefined_scores(METRICS, reason)
    predicted, num_scores = probability.argmax(axis=1), probability.shape[1]
    confusion = partial(classification.confusion, num_classes=num_scores)
    counts = np.stack([confusion(target[k], predicted[k]) for k in members.kept])
    values = {name: float(value) for name, value in compute_metrics(counts, trained).items()}
    reasons = dict(members.undefined)
    if reasons:
        reasons["average"] = f"the mean needs all eight settings; undefined: {', '.join(reasons)}"
    if np.isnan(values["weighted_kappa"]):
        reasons["weighted_kappa"] = classification.NO_CHANCE
    if num_scores <= SCORE_3 or not (target == SCORE_3).any():
        reasons[RECALL_3] = NO_SCORE_3
    others = {name: NOT_TRAINED for name, value in values.items() if np.isnan(value)}
    return Scores(values, others | reasons)


def compute_metrics(
    counts: Float[np.ndarray, "*D S K K"], trained: Bool[np.ndarray, "K"] | None = None
) -> dict[str, Float[np.ndarray, "*D"]]:
    """Every metric of `METRICS` from a confusion matrix of each setting (true scores as rows)."""
    by_setting = classification.accuracy(counts)
    every_frame = counts[..., SETTINGS.index("setting_1"), :, :]
    return {
        **{name: by_setting[..., s] for s, name in enumerate(SETTINGS)},
        "average": by_setting.mean(axis=-1),
        "accuracy": classification.accuracy(every_frame),
        "f1": classification.weighted_f1(every_frame, trained),
        "macro_f1": classification.macro_f1(every_frame, trained),
        "weighted_kappa": classification.weighted_kappa(every_frame),
        RECALL_3: _recall_of_score_3(every_frame, trained),
    }


def _recall_of_score_3(
    counts: Float[np.ndarray, "*D K K"], trained: Bool[np.ndarray, "K"] | None
) -> Float[np.ndarray, "*D"]:
    if counts.shape[-1] <= SCORE_3:
        return np.full(counts.shape[:-2], np.nan)
    return classification.scores_by_class(counts, trained)["recall"][..., SCORE_3]


def find_steady(severity: Int[np.ndarray, "T"], reach: int) -> Bool[np.ndarray, "T"]:
    """False for the `reach` frames before and the `reach` frames after each change of score."""
    kept = np.ones(len(severity), bool)
    for last in np.flatnonzero(np.diff(severity)):
        kept[max(0, last - reach + 1) : last + reach + 1] = False
    return kept


def explain_unusable(probability: Float[np.ndarray, "N K"]) -> str:
    if reason := classification.explain_unusable(probability, "frame"):
        return reason
    outside = ((probability < -ROUNDING) | (probability > 1 + ROUNDING)).any(axis=1).sum()
    if outside:
        return f"{outside} of {len(probability)} frames have a probability outside 0 to 1"
    return ""


def inherited_metrics(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the metrics of frames that inherit the class of their clip, as fractions of 1."""
    by_class = (f"{metric} {name}" for name in classes for metric in INHERITED_CLASS_METRICS)
    return ("frame_accuracy", "frame_macro_f1", *by_class)


def score_inherited(
    target: Int[np.ndarray, "N"],
    probability: Float[np.ndarray, "N K"],
    frame_counts: Int[np.ndarray, "N K"],
    classes: Sequence[str],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> Scores:
    """Metrics of clips (`classification.METRICS`) and of their frames (`inherited_metrics`).

    `frame_counts` counts the frames of each clip by their most probable class. A class that no
    frame has leaves its recall undefined, one that none was predicted its precision, and both
    together its F1; `frame_macro_f1` is the plain mean of F1 over the others.
    """
    clips = classification.score(target, probability, trained, classes)
    if reason := classification.explain_unusable(probability):
        own = classification.undefined_scores(inherited_metrics(classes), reason)
    else:
        num_classes = frame_counts.shape[1]
        counts = np.zeros((num_classes, num_classes))
        np.add.at(counts, target, frame_counts)
        metrics = compute_inherited_metrics(counts, classes, trained)
        values = {name: float(value) for name, value in metrics.items()}
        known = np.ones(num_classes, bool) if trained is None else trained
        reasons = {
            f"{metric} {name}": (reason if is_known else _UNTRAINED).format(name=name)
            for name, is_known in zip(classes, known, strict=True)
            for metric, reason in _INHERITED_REASONS.items()
        }
        reasons["frame_macro_f1"] = NOT_TRAINED
        own = Scores(values, {name: reasons[name] for name in values if np.isnan(values[name])})
    return Scores(clips.values | own.values, clips.undefined | own.undefined)


def compute_inherited_metrics(
    counts: Float[np.ndarray, "*D K K"],
    classes: Sequence[str],
    trained: Bool[np.ndarray, "K"] | None = None,
) -> dict[str, Float[np.ndarray, "*D"]]:
    by_class = classification.scores_by_class(counts, trained)
    return {
        "frame_accuracy": classification.accuracy(counts),
        "frame_macro_f1": classification.macro_f1(counts, trained),
        **{
            f"{metric} {name}": by_class[metric.removeprefix("frame_")][..., k]
            for k, name in enumerate(classes)
            for metric in INHERITED_CLASS_METRICS
        },
    }


def _chosen_clips(
    ratings: Sequence[Sequence[int] | None],
) -> dict[str, tuple[Bool[np.ndarray, "C"], str]]:
    rated = np.array([bool(scores) for scores in ratings], bool)
    chosen = {"video_annotated": (rated, "no clip has raters")}
    votes, reason = np.zeros(len(ratings), np.int64), ""
    try:
        votes[rated] = raters.count_mode_votes(raters.rater_table(ratings))
    except ValueError as unequal:
        reason = str(unequal)
    for name, least in VOTES.items():
        chosen[name] = (votes >= least, reason or f"no clip has {least} raters who agree")
    return chosen
