"""The parity check: stored test clips must be predicted as when the models were trained.

Letters: N frames, M segmented frames, H rows, W columns, K classes.
Why stored frames: they are exact, while decoding a file elsewhere may change a grey value. Why
test clips: no model was trained on them, so memorised outputs do not pass.
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
from lus_ray.inference.schema import ClipResponse
from lus_ray.inference.served_model import ServedModel
from lus_ray.metrics import segmentation
from lus_ray.runs import manifest, predictions
from lus_ray.storage.paths import PathOrUri
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.training import checkpoint

TOLERANCE = 1e-5
"""Allowed difference of a probability, or of the share of pixels of a frame, on a CPU."""

GPU_TOLERANCE = 1e-2
"""The same where a GPU computed the stored or the new predictions: its convolutions keep ten bits
after the point (TF32), which moves the logits of a deep network by some thousandths."""

NUM_CLIPS = 2

PredictFrames = Callable[[UInt8[np.ndarray, "N H W"]], ClipResponse]


def measure_parity(
    models: Sequence[ServedModel],
    predict: PredictFrames,
    *,
    data: PathOrUri | None = None,
    num_clips: int = NUM_CLIPS,
) -> dict[str, float]:
    """The largest difference from stored predictions over a few test clips, by model id.

    Clips come from the run's own store, or from `data`. Each is predicted once for all models.

    Raises:
        ServeError: the clips of a run are missing, a model has no prediction for a test clip, or
            the response lacks a model.
    """
    differences: dict[str, float] = {}
    for run in dict.fromkeys(model.run_folder for model in models):
        stored = {m: _read_stored(m, num_clips) for m in models if m.run_folder == run}
        wanted = sorted({clip for rows in stored.values() for clip in rows})
        for row in store.read(_find_store(run, data), wanted):
            response = predict(frames_of(row))
            for model, rows in stored.items():
                if row["clip"] in rows:
                    off = _difference(model, row, rows[row["clip"]], response, predict)
                    differences[model.id] = float(np.maximum(off, differences.get(model.id, 0.0)))
    return differences


def check_parity(differences: Mapping[str, float], tolerance: float = TOLERANCE) -> None:
    """Reject models that do not reproduce their stored predictions.

    Raises:
        ServeError: names the model with the largest difference.
    """
    off = {name: value for name, value in differences.items() if not value <= tolerance}
    if off:
        name = max(off, key=lambda model: (np.isnan(off[model]), off[model]))
        raise ServeError(
            f"{name}: predictions differ from its stored predictions by {off[name]:.2g}, more than "
            f"{tolerance:g}; it is not served; run its cell again"
        )


def _read_stored(model: ServedModel, num_clips: int) -> dict[str, Row]:
    columns = ("clip", "split", "sha256", "probability", "outputs", "counts")
    _, table = predictions.read(model.predictions, columns)
    required = "counts" if model.kind == "segmenter" else "outputs"
    is_test = pc.and_(pc.equal(table["split"], "test"), pc.is_valid(table[required]))
    rows = table.filter(is_test).sort_by("clip").slice(0, num_clips).to_pylist()
    if not rows:
        raise ServeError(f"{model.id}: has no prediction for a test clip, so parity is unknown")
    return {row["clip"]: row for row in rows}


def _find_store(run: Path, data: PathOrUri | None) -> PathOrUri:
    paths: list[PathOrUri | None] = (
        [data] if data is not None else [manifest.read(run).data_path, run / "phantom"]
    )
    known = [path for path in paths if path]
    for path in known:
        if store.list_shards(path):
            return path
    raise ServeError(
        f"{run.name}: its clips are missing at {known[0]}, so parity is unknown; put them back"
    )


def _difference(
    model: ServedModel, row: Row, stored: Row, response: ClipResponse, predict: PredictFrames
) -> float:
    if row["sha256"] != stored["sha256"]:
        raise ServeError(
            f"{model.id}: clip {row['clip']!r} differs from the predicted one; its store was "
            "created anew; run the experiment again"
        )
    if model.kind == "segmenter":
        return _mask_difference(model, row, stored, predict)
    expected = np.asarray(stored["outputs" if model.kind == "frames" else "probability"])
    probability = np.asarray(_probability_of(model, response))
    if expected.shape != probability.shape:
        return float("inf")
    return float(np.abs(expected - probability).max())


def _probability_of(model: ServedModel, response: ClipResponse) -> Any:
    experts = [expert for group in response.experts for expert in group.answers]
    parts: list[Any] = [response.biomarkers, *experts, response.frames, *response.clip_scores]
    for part in parts:
        if part is not None and part.model == model.id:
            return part.probability
    raise _not_deployed(model)


def _mask_difference(model: ServedModel, row: Row, stored: Row, predict: PredictFrames) -> float:
    """The largest share of a frame's pixels that moved in its table of true and predicted classes.

    The clip is sent with the padding of the view, so the response covers every counted pixel.
    """
    task: Segmentation = checkpoint.build(checkpoint.read_description(model.folder))
    view, ids = cast(View, task.view), masks_of(row)
    sheet = predict(view.pad(frames_of(row))).masks
    if sheet is None or sheet.model != model.id or ids is None:
        raise _not_deployed(model)
    masks = frame_sheets.decode_sheet(sheet.sprite, sheet.num_frames)
    true = task.prepare_truth(view.resize_masks(ids), row)[frame_sheets.frame_slice(len(ids))]
    if masks.shape != true.shape:
        return float("inf")
    counts = segmentation.count_pixels(true, masks, num_classes=len(task.classes))
    counts = counts.reshape(len(true), -1)
    expected = np.asarray(stored["counts"])[frame_sheets.frame_slice(len(ids))]
    return float(np.abs(counts - expected).max() / masks[0].size)


def _not_deployed(model: ServedModel) -> ServeError:
    return ServeError(f"{model.id}: is missing in the response; it was not deployed")
