"""Arms that predict every frame of a clip: their arrays, and the arms that read them.

Shapes: N frames of all test clips one after another, C clips, K classes.
Why arrays straight from Arrow: a fold has ten thousand frames and more, and as nested lists of
numbers they take twenty times the memory of float32.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int

from lus_ray.runs.manifest import RunRecord

SEVERITY = "frame_severity"
"""The label of arms that score every frame."""

DIAGNOSIS = "diagnosis"
"""The label of arms whose frames inherit the diagnosis of their clip."""


def read_targets(
    rows: pa.Table,
) -> tuple[Int[np.ndarray, "N"], Float32[np.ndarray, "N K"], Int[np.ndarray, "C"]]:
    """True scores, probabilities, and the number of frames of each clip.

    Raises:
        ValueError: the scores of a clip do not match its frames, or frames differ in their classes.
    """
    probability, num_frames = read_outputs(rows)
    scores = rows["target"].combine_chunks()
    num_scores = pc.list_value_length(scores).to_numpy(zero_copy_only=False)
    if (wrong := np.flatnonzero(num_scores != num_frames)).size:
        clip = rows["clip"][int(wrong[0])].as_py()
        raise ValueError(
            f"clip {clip!r} has {num_scores[wrong[0]]} scores for {num_frames[wrong[0]]} frames"
        )
    target = scores.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return target, probability, num_frames


def read_outputs(rows: pa.Table) -> tuple[Float32[np.ndarray, "N K"], Int[np.ndarray, "C"]]:
    """Probabilities of every frame, and the number of frames of each clip.

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


def count_frames(rows: pa.Table, num_classes: int) -> Int[np.ndarray, "C K"]:
    """Frames of each clip by their most probable class, the first of ties.

    Raises:
        ValueError: a clip has no outputs, or frames have other classes.
    """
    probability, num_frames = read_outputs(rows)
    if not len(probability):
        return np.zeros((0, num_classes), np.int64)
    if probability.shape[1] != num_classes:
        raise ValueError(f"frames with {probability.shape[1]} of {num_classes} classes")
    counts = np.zeros((len(num_frames), num_classes), np.int64)
    clip = np.repeat(np.arange(len(num_frames)), num_frames)
    np.add.at(counts, (clip, probability.argmax(axis=1)), 1)
    return counts


def repeat_names(names: Sequence[str], num_frames: Int[np.ndarray, "C"]) -> tuple[str, ...]:
    return tuple(np.repeat(np.array(names, object), num_frames).tolist())


def aggregators(record: RunRecord) -> dict[str, str]:
    """Arms that turn the frame scores of another arm into a clip score, with the arm they read."""
    by_frame = {arm.name for arm in record.arms if arm.label == SEVERITY}
    return {
        arm.name: arm.reads
        for arm in record.arms
        if arm.label == "severity" and arm.reads in by_frame
    }
