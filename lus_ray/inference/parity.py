"""The parity gate: stored test clips must be answered as they were when the models were trained.

Letters: N frames, M frames that are outlined, H rows, W columns, K classes.
Why stored frames: they are exact, while a file that is decoded elsewhere may differ by a grey
value. Why only test clips: no model learned from them, so that an answer by heart is not enough.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
from jaxtyping import UInt8

from lus_ray.clip import Row, frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.transforms.view import View
from lus_ray.errors import ServeError
from lus_ray.inference import frame_sheets
from lus_ray.inference.model_selection import Model
from lus_ray.metrics import segmentation
from lus_ray.runs import layout, predictions
from lus_ray.storage.paths import PathOrUri
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.training import checkpoint

TOLERANCE = 1e-5
"""A probability, or the share of pixels of a frame, may be off by so much on a CPU."""

GPU_TOLERANCE = 1e-2
"""The same where a GPU computed the stored predictions or computes the answers: its convolutions
keep ten bits after the point (TF32), which moves logits of a deep network by some thousandths."""

NUM_CLIPS = 2
"""Test clips that are replayed for each model."""

Answer = Callable[[UInt8[np.ndarray, "N H W"]], Mapping[str, Any]]
"""Frames of a clip to the answer of `lus_ray.inference.response`."""


def replay(
    models: Sequence[Model],
    answer: Answer,
    *,
    data: PathOrUri | None = None,
    num_clips: int = NUM_CLIPS,
) -> dict[str, float]:
    """By model id, how far the answers to a few stored test clips are from what was predicted.

    The clips are those of the run's own store, or of `data`. A clip is asked for once, for all
    the models that predicted it.

    Raises:
        ServeError: the clips of a run are gone, a model predicted none of the test side, or an
            answer lacks a model.
    """
    differences: dict[str, float] = {}
    for run in dict.fromkeys(model.run_folder for model in models):
        stored = {m: _stored(m, num_clips) for m in models if m.run_folder == run}
        wanted = sorted({clip for rows in stored.values() for clip in rows})
        for row in store.read(_store(run, data), wanted):
            said = answer(frames_of(row))
            for model, rows in stored.items():
                if row["clip"] in rows:
                    off = _difference(model, row, rows[row["clip"]], said, answer)
                    differences[model.id] = float(np.maximum(off, differences.get(model.id, 0.0)))
    return differences


def check(differences: Mapping[str, float], tolerance: float = TOLERANCE) -> None:
    """Refuse a model whose answers are not those that were stored.

    Raises:
        ServeError: names the model that is furthest off, and how far.
    """
    off = {name: far for name, far in differences.items() if not far <= tolerance}
    if off:
        name = max(off, key=lambda model: (np.isnan(off[model]), off[model]))
        raise ServeError(
            f"{name}: answers differ from its stored predictions by {off[name]:.2g}, more than "
            f"{tolerance:g}; it is not served; run its cell again"
        )


def _stored(model: Model, num_clips: int) -> dict[str, Row]:
    """A few test rows of a model's predictions, by clip, the first by name."""
    columns = ("clip", "split", "sha256", "probability", "outputs", "counts")
    _, table = predictions.read(model.predictions, columns)
    told = "counts" if model.kind == "segmenter" else "outputs"
    kept = table.filter(
        pc.and_(pc.equal(table["split"], "test"), pc.is_valid(table[told]))
    ).sort_by("clip")
    if not kept.num_rows:
        raise ServeError(f"{model.id}: predicted no test clip, so that nothing can be replayed")
    return {row["clip"]: row for row in kept.slice(0, num_clips).to_pylist()}


def _store(run: Path, data: PathOrUri | None) -> PathOrUri:
    """Where the clips of a run lie."""
    told = data if data is not None else layout.record(run).get("data_path")
    known: list[PathOrUri] = [told] if told else []
    if data is None:
        known.append(run / "phantom")
    for folder in known:
        if store.shards(folder):
            return folder
    raise ServeError(
        f"{run.name}: its clips are no longer at {known[0]}, so that nothing can be replayed; "
        "put them back"
    )


def _difference(
    model: Model, row: Row, stored: Row, said: Mapping[str, Any], answer: Answer
) -> float:
    """The largest difference between what is said of a clip and what was stored."""
    if row["sha256"] != stored["sha256"]:
        raise ServeError(
            f"{model.id}: clip {row['clip']!r} is not the one that was predicted; its store was "
            "made anew; run the experiment again"
        )
    if model.kind == "segmenter":
        return _outlined_otherwise(model, row, stored, answer)
    told = stored["outputs"] if model.kind == "frames" else stored["probability"]
    expected, found = np.asarray(told), np.asarray(_probability(model, said))
    if expected.shape != found.shape:
        return float("inf")
    return float(np.abs(expected - found).max())


def _probability(model: Model, said: Mapping[str, Any]) -> Any:
    """What an answer has of one model."""
    parts = {
        "backbone": [said["biomarkers"]],
        "expert": [one for group in said["experts"] for one in group["answers"]],
        "frames": [said["frames"]],
        "aggregator": said["clip_scores"],
    }[model.kind]
    for part in parts:
        if part is not None and part["model"] == model.id:
            return part["probability"]
    raise ServeError(f"{model.id}: the answer does not have it; it was not deployed")


def _outlined_otherwise(model: Model, row: Row, stored: Row, answer: Answer) -> float:
    """The largest share of a frame's pixels that moved in its table of true and predicted classes.

    The clip is asked for with the black around it that the view adds, so that every pixel that
    was counted is in the answer.
    """
    task: Segmentation = checkpoint.build(checkpoint.read_description(model.folder))
    view, ids = cast(View, task.view), masks_of(row)
    said = answer(view.pad(frames_of(row)))["masks"]
    if said is None or said["model"] != model.id or ids is None:
        raise ServeError(f"{model.id}: the answer does not have it; it was not deployed")
    masks = frame_sheets.read(said["sprite"], said["num_frames"])
    true = task.truth(view.resize_masks(ids), row)[frame_sheets.spaced(len(ids))]
    if masks.shape != true.shape:
        return float("inf")
    counts = segmentation.counts(true, masks, num_classes=len(task.classes)).reshape(len(true), -1)
    expected = np.asarray(stored["counts"])[frame_sheets.spaced(len(ids))]
    return float(np.abs(counts - expected).max() / masks[0].size)
