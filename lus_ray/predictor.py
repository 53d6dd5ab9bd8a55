"""A checkpoint as a function of one clip: in validation, in the batch test, and when served.

Letters: N frames of the clip, S samples, T frames of a sample, M frames of a track, K outputs,
D features.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lus_ray.clip import frames_of
from lus_ray.data.loading.batches import Tracks
from lus_ray.data.transforms.view import Track, View
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import checkpoint

Prediction = dict[str, np.ndarray]
"""`outputs` (S, K), `features` (S, D) and `probability` (K,), as far as the task gives them."""


class Predictor:
    """`Predictor(checkpoint)(clip)`: the only way to predict.

    A network reads the frames of a clip row; experts and aggregators read the `outputs` or
    `features` that an earlier predictor gave, as a row of its prediction table.

    Raises:
        CheckpointError: the folder is no checkpoint, or not a trusted one.
    """

    def __init__(self, folder: Path | str, *, device: str = "cpu") -> None:
        self.task = checkpoint.load(folder)
        self.device = device
        if isinstance(self.task, Task):
            self.task.to(device)

    def __call__(self, clip: Mapping[str, Any]) -> Prediction:
        """What the task says of one clip row."""
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
    """What a task says of frames at its view's size, or of a track.

    The mean over samples is `probability`. `num_samples` above 0 takes so many samples instead of
    the view's own number. Grey becomes float a part of the clip at a time (`Task.at_once`), as all
    frames of a long clip fill four times the memory.
    """
    with torch.inference_mode():
        if isinstance(task.view, View):
            assert isinstance(clip, np.ndarray)
            chosen = task.view.sample_indices(len(clip), num_samples)
            said = [
                task.predict(to_unit_range(torch.from_numpy(clip[part]).to(device)))
                for part in parts(task, chosen, clip[0].size * chosen.shape[1])
            ]
            result = {name: np.concatenate([each[name] for each in said]) for name in said[0]}
        else:
            assert isinstance(clip, Tensor)
            result = task.predict(clip.to(device))
    if "outputs" in result:
        result["probability"] = result["outputs"].mean(axis=0)
    return result


def parts(
    task: Task, samples: Int[np.ndarray, "S _"], num_pixels: int
) -> Iterator[Int[np.ndarray, "s _"]]:
    """Samples, a row each and of so many pixels, in the parts that a task predicts at once."""
    step = task.samples_per_pass(num_pixels)
    return (samples[first : first + step] for first in range(0, len(samples), step))


def predict_batch(task: Task, clips: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[Prediction]:
    """What a task says of the frames of each clip, from one pass over all their samples.

    The answers are those of `predict` to rounding: networks do not mix samples.
    """
    assert isinstance(task.view, View)
    samples = [task.view.resize_samples(frames) for frames in clips]
    ends = np.cumsum([len(part) for part in samples])
    device = next(task.parameters(), torch.empty(0)).device
    with torch.inference_mode():
        said = task.predict(to_unit_range(torch.from_numpy(np.concatenate(samples)).to(device)))
    of_clip = {name: np.split(array, ends[:-1]) for name, array in said.items()}
    results = [
        dict(zip(of_clip, values, strict=True)) for values in zip(*of_clip.values(), strict=True)
    ]
    for result in results:
        if "outputs" in result:
            result["probability"] = result["outputs"].mean(axis=0)
    return results
