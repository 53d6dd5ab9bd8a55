"""A checkpoint as a function of one clip, in validation, tests and the service.

Shapes: N frames of the clip, S samples, T frames of a sample, M frames of a track, K outputs,
D features.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lus_ray.clip import frames_of
from lus_ray.data.loading.batches import Tracks
from lus_ray.data.transforms.view import Track, View
from lus_ray.tasks.task import Task, mean_of_samples, to_unit_range
from lus_ray.training import checkpoint

PIXELS_OF_A_PASS = 1 << 19
"""Clips are joined up to about this size; a pass over less spends its time on overhead."""

Prediction = dict[str, np.ndarray]
"""`outputs` (S, K), `features` (S, D) and `probability` (K,), as far as the task has them."""


class Predictor:
    """`Predictor(checkpoint)(row)` predicts a clip row, or a row of an earlier arm's predictions.

    Raises:
        CheckpointError: the folder is no checkpoint, or not a trusted one.
    """

    def __init__(self, folder: Path | str, *, device: str = "cpu") -> None:
        self.task = checkpoint.load(folder).to(device)
        self.device = device

    def __call__(self, clip: Mapping[str, Any]) -> Prediction:
        if self.task.reads_rows:
            return self.task.predict(clip)
        if isinstance(self.task.view, Track):
            (track,) = Tracks().clips([dict(clip)], self.task.view)
            return predict(self.task, track, device=self.device)
        return predict(self.task, self.task.view.resize(frames_of(clip)), device=self.device)


def predict(
    task: Task,
    clip: UInt8[np.ndarray, "N H W"] | Float[Tensor, "M K"],
    *,
    device: str = "cpu",
    num_samples: int = 0,
) -> Prediction:
    """The prediction for frames at the view's size, or for a track.

    `num_samples` above 0 replaces the view's number. Frames become float in parts, to save memory.
    """
    with torch.inference_mode():
        if isinstance(task.view, View):
            assert isinstance(clip, np.ndarray)
            chosen = task.view.sample_indices(len(clip), num_samples)
            results = [
                task.predict(to_unit_range(torch.from_numpy(clip[part]).to(device)))
                for part in split_samples(task, chosen, clip[0].size * chosen.shape[1])
            ]
            result = {name: np.concatenate([r[name] for r in results]) for name in results[0]}
        else:
            assert isinstance(clip, Tensor)
            result = task.predict(clip.to(device))
    if "outputs" in result:
        result["probability"] = mean_of_samples(result["outputs"])
    return result


def split_samples(
    task: Task, samples: Int[np.ndarray, "S _"], num_pixels: int
) -> Iterator[Int[np.ndarray, "s _"]]:
    """Samples, a row each and of this many pixels, in parts for one pass of the task."""
    step = task.samples_per_pass(num_pixels)
    return (samples[first : first + step] for first in range(0, len(samples), step))


def predict_in_turn(
    task: Task,
    clips: Iterable[UInt8[np.ndarray, "_ _ _"]],
    *,
    device: str = "cpu",
    num_samples: int = 0,
) -> Iterator[Prediction]:
    """`predict` of each clip in order; small ones share a pass, which may round differently."""
    if not task.clips_share_a_pass:
        yield from (predict(task, c, device=device, num_samples=num_samples) for c in clips)
        return
    view = task.view
    assert isinstance(view, View)
    samples = (clip[view.sample_indices(len(clip), num_samples)] for clip in clips)
    yield from predict_samples_in_turn(task, samples, device=device)


def predict_samples_in_turn(
    task: Task, clips: Iterable[UInt8[np.ndarray, "S T H W"]], *, device: str = "cpu"
) -> Iterator[Prediction]:
    """Predictions for the samples of each clip in order; small ones share a pass."""
    waiting: list[UInt8[np.ndarray, "S T H W"]] = []
    for clip in clips:
        waiting.append(clip)
        if sum(samples.size for samples in waiting) >= PIXELS_OF_A_PASS:
            yield from predict_samples(task, waiting, device=device)
            waiting = []
    if waiting:
        yield from predict_samples(task, waiting, device=device)


def predict_samples(
    task: Task, samples: Sequence[UInt8[np.ndarray, "S T H W"]], *, device: str = "cpu"
) -> list[Prediction]:
    """Predictions for the samples of each clip, equal to `predict` but for rounding, in a pass."""
    ends = np.cumsum([len(part) for part in samples])
    with torch.inference_mode():
        outputs = task.predict(to_unit_range(torch.from_numpy(np.concatenate(samples)).to(device)))
    parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
    if "outputs" in parts:
        parts["probability"] = [mean_of_samples(part) for part in parts["outputs"]]
    return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]


def predict_batch(task: Task, clips: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[Prediction]:
    """Predictions for the frames of each clip, equal to `predict` but for rounding, in one pass."""
    assert isinstance(task.view, View)
    device = next(task.parameters(), torch.empty(0)).device
    samples = [task.view.resize_samples(frames) for frames in clips]
    return predict_samples(task, samples, device=str(device))
