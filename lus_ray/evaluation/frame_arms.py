"""Arms that score every frame: their arrays, what each evaluation setting is, and who reads them.

Letters: N frames of all test clips one after another, C clips, K scores.
Why arrays straight from Arrow: a fold has ten thousand frames and more, and a list of lists of
numbers takes twenty times the memory of the float32 it holds.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int

from lus_ray.metrics import frames
from lus_ray.metrics.frames import FrameSelection

LABEL = "frame_severity"

EXPLAINED = {
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
    "accuracy": "share of frames with the right score; for one score a frame the same as micro F1, "
    "which the settings are too",
    "f1": "F1 of each score, weighted by its number of frames",
    "macro_f1": "plain mean of F1 over the scores that occur",
    "weighted_kappa": "agreement beyond chance, 100 at most; a miss of d scores weighs d squared",
}
"""What each metric of frames counts, in one line."""


def arrays(
    rows: pa.Table,
) -> tuple[Int[np.ndarray, "N"], Float32[np.ndarray, "N K"], Int[np.ndarray, "C"]]:
    """True scores, probabilities, and the number of frames of each clip.

    Raises:
        ValueError: a clip has not as many scores as frames, or frames differ in their classes.
    """
    probability, num_frames = outputs(rows)
    scores = rows["target"].combine_chunks()
    num_scores = pc.list_value_length(scores).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(num_scores != num_frames)).size:
        clip = rows["clip"][int(wrong[0])].as_py()
        raise ValueError(
            f"clip {clip!r} has {num_scores[wrong[0]]} scores for {num_frames[wrong[0]]} frames"
        )
    target = scores.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return target, probability, num_frames


def outputs(rows: pa.Table) -> tuple[Float32[np.ndarray, "N K"], Int[np.ndarray, "C"]]:
    """What was said of every frame of the clips, and the number of frames of each clip.

    Raises:
        ValueError: a clip has no outputs, or frames differ in their classes.
    """
    lines = rows["outputs"].combine_chunks()
    if lines.null_count:
        raise ValueError("a clip has no outputs")
    num_frames = pc.list_value_length(lines).to_numpy(zero_copy_only=False).astype(np.int64)
    by_frame = lines.flatten()
    widths = pc.unique(pc.list_value_length(by_frame)).to_pylist()
    if len(widths) > 1:
        raise ValueError(f"frames with {widths[0]} and {widths[1]} classes")
    values = by_frame.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(by_frame), widths[0] if widths else 0), num_frames


def said(rows: pa.Table, num_classes: int) -> Int[np.ndarray, "C K"]:
    """Frames of each clip by their most probable class, the first of equals.

    Raises:
        ValueError: a clip has no outputs, or frames have other classes.
    """
    probability, num_frames = outputs(rows)
    if not len(probability):
        return np.zeros((0, 0), np.int64)
    if probability.shape[1] != num_classes:
        raise ValueError(f"frames with {probability.shape[1]} of {num_classes} classes")
    counts = np.zeros((len(num_frames), num_classes), np.int64)
    clip = np.repeat(np.arange(len(num_frames)), num_frames)
    np.add.at(counts, (clip, probability.argmax(axis=1)), 1)
    return counts


def members(rows: pa.Table) -> FrameSelection:
    """Which frames of the clips each evaluation setting scores."""
    return frames.select_frames(rows["target"].to_pylist(), rows["raters"].to_pylist())


def repeated(names: Sequence[str], num_frames: Int[np.ndarray, "C"]) -> tuple[str, ...]:
    """The name of its clip, or of its patient, for every frame."""
    pairs = zip(names, num_frames.tolist(), strict=True)
    return tuple(chain.from_iterable(repeat(name, number) for name, number in pairs))


def readers(experiment: Mapping[str, Any]) -> dict[str, str]:
    """Aggregators: arms that make a clip score of the frame scores they read, and whose."""
    by_frame = {entry["name"] for entry in experiment["arms"] if entry.get("label") == LABEL}
    return {
        entry["name"]: entry["reads"]
        for entry in experiment["arms"]
        if entry.get("label") == "severity" and entry.get("reads") in by_frame
    }
