"""Intensity statistics of a clip: plain features as a baseline for every network."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lus_ray.data.transforms.view import View
from lus_ray.tasks.task import Task

PERCENTILES = (5, 25, 50, 75, 95, 99)


class IntensityFeatures(Task):
    """42 statistics per sample, without training.

    Over the whole frame and over its upper, middle and lower third: mean, standard deviation
    and six percentiles of grey (32); mean and standard deviation of the change between frames,
    of the horizontal and of the vertical gradient (6); mean and maximum over columns of the
    column mean's deviation, and the same over rows (4).
    """

    def __init__(self, view: View = View(num_frames=8, height=112, width=112)) -> None:  # noqa: B008
        super().__init__()
        self.view = view

    def predict(self, frames: Float[Tensor, "S T H W"]) -> dict[str, np.ndarray]:
        """`features` (S, 42)."""
        return {"features": np.stack([statistics(sample.cpu().numpy()) for sample in frames])}


def statistics(frames: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "42"]:
    """The 42 statistics of one sample, from grey values in [0, 1]."""
    values: list[float] = []
    for part in (frames, *np.array_split(frames, 3, axis=1)):
        values += [part.mean(), part.std(), *np.percentile(part, PERCENTILES)]
    change = np.zeros(1) if len(frames) < 2 else np.diff(frames, axis=0)
    for difference in (change, np.diff(frames, axis=2), np.diff(frames, axis=1)):
        values += [np.abs(difference).mean(), difference.std()]
    mean = frames.mean(axis=0)
    for axis in (0, 1):
        profile = np.abs(mean.mean(axis=axis) - mean.mean())
        values += [profile.mean(), profile.max()]
    return np.array(values, np.float32)
