"""Diagnosis of frames by a network on top of a segmenter; a clip is the mean over its frames.

Source: Gare et al. 2021, section 3.2. The mean over the frames of a clip is not in the paper.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lus_ray.data.labels import DIAGNOSIS
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.tasks.frame_score import FrameAttention
from lus_ray.tasks.task import Batch, GreyFrames, PredictionRow, Task, class_scores


class FrameDiagnosis(Task):
    """Healthy, another disease or COVID-19 pneumonia for every frame (cross-entropy).

    `net` takes grey images (N, 1, H, W) in [0, 1] and may have a `segmenter` that an earlier arm
    trained. `classes` are those of a diagnosis in `labels`. `monitor` is the validation score that
    selects the epoch: "frame_accuracy", or "accuracy" or "auc" of clips. `head_rate` is a factor on
    the learning rate of the last layer (1 as published): its inputs are shares of an area, so that
    a short training at the rate of the network never leaves the most frequent class.
    """

    inherited = True

    def __init__(
        self,
        net: Callable[..., nn.Module],
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        monitor: str = "frame_accuracy",
        classes: Sequence[str] = DIAGNOSIS.classes,
        head_rate: float = 1.0,
    ) -> None:
        super().__init__()
        if not view.is_per_frame or view.num_frames != 1:
            raise ArmError("a task of frames needs a View with num_frames=1 and num_samples=0")
        self.label, self.columns, self.classes = "diagnosis", ("diagnosis",), tuple(classes)
        self.net: Any = net(num_outputs=len(self.classes))
        self.view, self.monitor, self.head_rate = view, monitor, head_rate

    def lr_factor(self, parameter: str) -> float:
        return self.head_rate if parameter.startswith("net.out.") else 1.0

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.net(batch["frames"]).float(), batch["diagnosis"])}

    @torch.no_grad()
    def predict(self, frames: GreyFrames) -> dict[str, np.ndarray]:
        parts = frames.split(self.samples_per_pass(frames[0].numel()))
        outputs = [torch.softmax(self.net(part).float(), dim=1) for part in parts]
        return {"outputs": torch.cat(outputs).cpu().numpy()}

    @torch.no_grad()
    def find_attention(self, frames: GreyFrames) -> list[FrameAttention]:
        """Where each frame shows the predicted class, from the maps of the segmenter."""
        probability = self.predict(frames)["outputs"]
        predicted = torch.from_numpy(probability.argmax(axis=1)).to(frames.device)
        heat = self.net.activation_map(frames, predicted).float().cpu().numpy()
        return [FrameAttention(p, heat=h) for p, h in zip(probability, heat, strict=True)]

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        """Accuracy of frames, and accuracy and weighted one-vs-one AUC of annotated clips."""
        rows = [row for row in rows if row["target"] is not None]
        if not rows:
            return {"score": float("nan")}
        correct = [np.argmax(row["outputs"], axis=1) == row["target"] for row in rows]
        scores = {"frame_accuracy": float(np.concatenate(correct).mean()), **class_scores(rows)}
        return {**scores, "score": scores[self.monitor]}
