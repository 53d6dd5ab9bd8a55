"""A checkpoint as a function of one clip: in validation, in the batch test, and when served.

Letters: N frames of the clip, S samples, T frames of a sample, K outputs, D features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from lus_ray import checkpoint
from lus_ray.clip import frames_of
from lus_ray.tasks.expert import Expert
from lus_ray.tasks.task import Task, unit

Prediction = dict[str, np.ndarray]
"""`outputs` (S, K), `features` (S, D) and `probability` (K,), as far as the task gives them."""


class Predictor:
    """`Predictor(checkpoint)(clip)`: the only way to predict.

    A network reads the frames of a clip row; an expert reads the `outputs` or `features` that an
    earlier predictor gave, as a row of its prediction table.

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
        if isinstance(self.task, Expert):
            return self.task.predict(clip)
        return predict(self.task, self.task.view.resize(frames_of(clip)), device=self.device)


def predict(
    task: Task, resized: UInt8[np.ndarray, "N H W"], *, device: str = "cpu", num_samples: int = 0
) -> Prediction:
    """What a task says of frames at its view's size; the mean over samples is `probability`.

    `num_samples` above 0 takes so many samples instead of the view's own number.
    """
    samples = task.view.samples(resized, num_samples)
    with torch.inference_mode():
        frames = unit(torch.from_numpy(samples).to(device))
        result = task.predict(frames)
    if "outputs" in result:
        result["probability"] = result["outputs"].mean(axis=0)
    return result
