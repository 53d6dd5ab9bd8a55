"""Frame scores that are drawn into the frames: the shares of grey of their four quarters."""

import numpy as np
import torch
from torch import Tensor

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.data.labels import CLASSES
from lus_ray.data.transforms.view import View
from lus_ray.tasks.task import GreyFrames, PredictionRow, Task


class GreyPatches(Task):
    """The probability of each score is its quarter's share of the grey, without training.

    Scores 0 and 1 are above 2 and 3. It stands in for a frame network in controls, whose frames
    have known probabilities. Frames must not be black.
    """

    by_frame = True

    def __init__(self, view: View = View(num_frames=1, height=8, width=8, num_samples=0)) -> None:  # noqa: B008
        super().__init__()
        self.view = view
        self.label, self.columns = "frame_severity", ("frame_severity",)
        self.classes = CLASSES["severity"]

    def predict(self, frames: GreyFrames) -> dict[str, np.ndarray]:
        """`outputs` (N, 4)."""
        rows, columns = frames.shape[2] // 2, frames.shape[3] // 2
        quarters = frames[:, 0].unfold(1, rows, rows).unfold(2, columns, columns)
        grey: Tensor = quarters.to(torch.float64).mean(dim=(3, 4)).reshape(-1, NUM_SEVERITIES)
        shares = grey / grey.sum(dim=1, keepdim=True)
        return {"outputs": shares.float().cpu().numpy()}

    def target(self, row: PredictionRow) -> list[int] | None:
        return row["frame_severity"]
