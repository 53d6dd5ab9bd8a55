"""Metrics in words: how they are named, explained and grouped into tables."""

from collections.abc import Sequence

from lus_ray.evaluation import frame_arms, mask_arms
from lus_ray.evaluation.schema import ReportContents
from lus_ray.metrics import frames

NAMES = {
    "auc": "AUC",
    "accuracy": "accuracy (micro F1)",
    "f1": "weighted F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    frames.RECALL_3: "recall of score 3",
    **{name: f"K = {reach}" for name, reach in frames.REACHES.items()},
    **{name: f"A = {votes}" for name, votes in frames.VOTES.items()},
}
"""Names of metrics that are not the metric itself."""

BIOMARKER_NAMES = {"accuracy": "accuracy", "f1": "F1"}
"""Names for yes/no labels, whose micro F1 is another metric."""

MASK_NAMES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_iou": "mean IoU",
    "union_dice": "Dice, scores 1-3",
    "categorical_dice": "categorical Dice",
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}

FRAME_MEANINGS = {
    "setting_1": "every test frame",
    **{
        name: f"without the {reach} frames before and the {reach} after each change of the true "
        "score"
        if reach > 1
        else "without the frame before and the frame after each change of the true score"
        for name, reach in frames.REACHES.items()
    },
    "video_annotated": "frames of the clips that raters scored as a whole",
    **{
        name: f"of those, the clips whose most frequent score was given by at least {votes} raters"
        for name, votes in frames.VOTES.items()
    },
    "average": "plain mean of the eight settings",
    "accuracy": "share of frames with the right score; with one score per frame it equals micro "
    "F1, the metric of the settings",
    "f1": "F1 of each score, weighted by its number of frames",
    "macro_f1": "plain mean of F1 over the scores that occur",
    "weighted_kappa": "agreement beyond chance, at most 100; an error of d scores has weight d²",
    frames.RECALL_3: "share of the frames of score 3 that are predicted as score 3; at 100 no "
    "severe frame is missed",
}

DIAGNOSIS_MEANINGS = [
    ("Frame", "over all test frames, each labelled with the diagnosis of its clip"),
    ("Clip", "over test clips, each predicted by the mean probability of its frames"),
    (
        "Precision, recall, F1 of a class",
        "share of the frames predicted as the class that belong to it; share of the frames of the "
        "class that are predicted as it; harmonic mean of both",
    ),
]

MASK_MEANINGS = {
    "pixel_accuracy": "share of correctly classified pixels",
    "mean_iou": "mean IoU over the classes, including background",
    "iou": "pixels in both masks over pixels in either mask",
    "dice": "twice the pixels in both masks over the pixels of one plus those of the other",
    "union_dice": "Dice of the union of scores 1, 2 and 3 against everything else",
    "categorical_dice": "mean Dice of scores 0, 2 and 3",
    "sensitivity": "share of the B-line pixels predicted as B-line",
    "specificity": "share of the other pixels predicted as background",
}

OF_CLASS = {
    "iou": "IoU", "dice": "Dice", "precision": "precision", "specificity": "specificity",
}  # fmt: skip
"""Kinds of metrics of one class of masks."""

CLASS_MEANINGS = {
    "precision": "share of the pixels predicted as the class that have it",
    "specificity": "share of the other pixels that are not predicted as the class: 1 minus the "
    "false-positive rate",
}

MASK_NOTES = [
    (
        "Per image",
        "mean over test images, as in the table of single images; all other scores pool the pixels "
        "of the test images of a fold",
    ),
    (
        "Empty classes",
        "A class in neither the true nor the predicted mask is undefined and left out of means "
        "over classes and images; a class that is predicted but not true scores 0.",
    ),
]

DIAGNOSIS_TABLES = {
    "frames": "Frames, each with the diagnosis of its clip, as in the paper",
    "classes": "The same frames by class",
    "clips": "Clips, by the mean over their frames, not in the paper",
}

_FRAME = "frame_"


def short_name(arm: str, label: str | None) -> str:
    """The name of an arm where its label is already said."""
    return arm.removesuffix(f", {label}")


def name(metric: str, label: str | None) -> str:
    """A metric as it is printed for this label, for example "frame F1, healthy"."""
    if label == frame_arms.DIAGNOSIS:
        return _diagnosis_name(metric)
    special = BIOMARKER_NAMES if label == "biomarkers" else {}
    known = special.get(metric) or NAMES.get(metric) or _mask_name(metric)
    return known or metric.replace("_", " ")


def title(metric: str, label: str | None) -> str:
    return capitalize(name(metric, label))


def capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def unit(label: str | None) -> str:
    if mask_arms.scheme_of(label):
        return "images"
    return "frames" if label == frame_arms.SEVERITY else "clips"


def is_of_class(metric: str) -> bool:
    return metric.startswith(_FRAME) and " " in metric


def tables(contents: ReportContents, label: str) -> list[tuple[str, list[str]]]:
    """Title and metrics of each table of a label; most labels have one table without a title."""
    metrics = contents.metrics_of(label)
    if label != frame_arms.DIAGNOSIS:
        return [("", metrics)]
    parts: dict[str, list[str]] = {kind: [] for kind in DIAGNOSIS_TABLES}
    for metric in metrics:
        of_frames = "classes" if is_of_class(metric) else "frames"
        parts[of_frames if metric.startswith(_FRAME) else "clips"].append(metric)
    return [(DIAGNOSIS_TABLES[kind], part) for kind, part in parts.items() if part]


def explain(metrics: Sequence[str], label: str) -> list[tuple[str, str]]:
    """Title and meaning of the metrics whose names need an explanation."""
    if mask_arms.scheme_of(label):
        return [*_mask_meanings(metrics).items(), *MASK_NOTES]
    if label == frame_arms.DIAGNOSIS and any(m.startswith(_FRAME) for m in metrics):
        return DIAGNOSIS_MEANINGS
    if label == frame_arms.SEVERITY:
        return [(title(metric, label), FRAME_MEANINGS[metric]) for metric in metrics]
    return []


def _diagnosis_name(metric: str) -> str:
    kind, _, class_name = metric.removeprefix(_FRAME).partition(" ")
    if class_name:
        return f"frame {'F1' if kind == 'f1' else kind}, {class_name}"
    plain = "accuracy" if kind == "accuracy" else name(kind, None)
    return f"{'frame' if metric.startswith(_FRAME) else 'clip'} {plain}"


def _mask_name(metric: str) -> str | None:
    """`iou A-line` is "A-line IoU", `dice_per_image, covid` is "Dice per image, covid"."""
    whole, comma, role = metric.partition(", ")
    pooled = whole.removesuffix("_per_image")
    kind, _, class_name = pooled.partition(" ")
    plain = MASK_NAMES.get(pooled)
    if class_name and kind in OF_CLASS:
        plain = f"{class_name} {OF_CLASS[kind]}"
    if plain is None:
        return None
    return plain + (" per image" if pooled != whole else "") + comma + role


def _mask_meanings(metrics: Sequence[str]) -> dict[str, str]:
    meanings: dict[str, str] = {}
    for metric in metrics:
        pooled = metric.partition(", ")[0].removesuffix("_per_image")
        kind, _, class_name = pooled.partition(" ")
        if class_name:
            meaning = CLASS_MEANINGS.get(kind) or MASK_MEANINGS[kind]
            meanings[f"{capitalize(OF_CLASS[kind])} of a class"] = meaning
        else:
            meanings[capitalize(MASK_NAMES[pooled])] = MASK_MEANINGS[kind]
    return meanings
