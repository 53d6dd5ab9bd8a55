"""Arms whose frames inherit the diagnosis of their clip: how their metrics are named and explained.

Frames are what the paper counts, and come first; clips are a table of their own.
"""

from collections.abc import Sequence

LABEL = "diagnosis"
FRAME = "frame_"

TITLES = {
    "frames": "Frames, each with the diagnosis of its clip, as the paper counts them",
    "classes": "The same frames by class",
    "clips": "Clips, by the mean over their frames, beyond the paper",
}

EXPLAINED = [
    ("Frame", "a figure of all test frames, each an example with the diagnosis of its clip"),
    ("Clip", "a figure of test clips, of which the mean probability over the frames is taken"),
    (
        "Precision, recall, F1 of a class",
        "of the frames said to be of it, the share that is; of those that are, the share that was "
        "said to be; twice the right ones over the sum of both",
    ),
]
"""What the two kinds of metrics count."""

_KINDS = {"precision": "precision", "recall": "recall", "f1": "F1"}


def of_frames(metric: str) -> bool:
    """Whether a metric counts frames."""
    return metric.startswith(FRAME)


def of_class(metric: str) -> bool:
    """Whether a metric counts the frames of one class."""
    return of_frames(metric) and " " in metric


def name(metric: str, names: dict[str, str]) -> str:
    """A metric as it is printed: `frame_f1 healthy` is "frame F1, healthy", `auc` is "clip AUC".

    `names` are those of metrics that other labels have too.
    """
    kind, _, of = metric.removeprefix(FRAME).partition(" ")
    if of:
        return f"frame {_KINDS[kind]}, {of}"
    plain = "accuracy" if kind == "accuracy" else names.get(kind, kind)
    return f"{'frame' if of_frames(metric) else 'clip'} {plain}"


def blocks(metrics: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Title and metrics of the tables of frames, of their classes and of clips that have any."""
    parts: dict[str, list[str]] = {kind: [] for kind in TITLES}
    for metric in metrics:
        kind = "classes" if of_class(metric) else "frames" if of_frames(metric) else "clips"
        parts[kind].append(metric)
    return [(TITLES[kind], part) for kind, part in parts.items() if part]
