"""Frame scores: the severity of every single frame, and what the network attended to.

Shapes: N frames, C crops of a frame, H rows, W columns, K scores.
Source: Roy et al. 2020, section IV-A: SORD on the branch of the small crop, consistency of the
two branches (equation 5) and a prior on their scales (equation 6).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.data.labels import CLASSES
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.metrics import classification
from lus_ray.nets.crops import PRIOR_SCALES, crop_corners
from lus_ray.nets.gradcam import bounding_box, grad_cam
from lus_ray.tasks.losses import POSITIONS, soft_cross_entropy, sord_targets
from lus_ray.tasks.task import Batch, GreyFrames, PredictionRow, Task, with_arguments


@dataclass(frozen=True)
class FrameAttention:
    """What a network attended to in one frame: its crops, or a map of the whole frame.

    Attributes:
        quads: corners of the crops in fractions of the frame, x before y.
        crops: grey in [0, 1].
        heat: Grad-CAM in [0, 1].
        box: left, top, right, bottom of the hottest part, in fractions.
    """

    probability: Float[np.ndarray, "K"]
    quads: Float[np.ndarray, "C 4 2"] | None = None
    crops: Float[np.ndarray, "C h w"] | None = None
    heat: Float[np.ndarray, "H W"] | None = None
    box: tuple[float, float, float, float] | None = None


class FrameScore(Task):
    """A score 0-3 for each frame of a clip.

    Args:
        net: builds a network of colour images (N, 3, H, W) in [0, 1]. If it has `branches`, the
            first one predicts.
        loss: "sord" or "cross-entropy".
        positions: of the scores on a line, for SORD.
        consistency: weight of the mean squared difference of the branches' logits.
        prior: weight of the deviation of crop scales from the prior.
        localiser: factor on the learning rate of the crop localiser (1 as published).
        monitor: the validation score that selects the epoch.
    """

    by_frame = True

    def __init__(
        self,
        net: Callable[..., nn.Module],
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        loss: Literal["sord", "cross-entropy"] = "sord",
        positions: Sequence[float] = POSITIONS,
        consistency: float = 1.0,
        prior: float = 1.0,
        localiser: float = 1.0,
        monitor: str = "accuracy",
    ) -> None:
        super().__init__()
        if not view.is_per_frame or view.num_frames != 1:
            raise ArmError("a task of frames needs a View with num_frames=1 and num_samples=0")
        if loss not in ("sord", "cross-entropy"):
            raise ArmError(f"no loss {loss!r}; use 'sord' or 'cross-entropy'")
        sized = with_arguments(net, {"size": (view.height, view.width)})
        self.net: Any = sized(num_outputs=NUM_SEVERITIES)
        self.view, self.monitor = view, monitor
        self.consistency, self.prior, self.localiser = consistency, prior, localiser
        self.label, self.columns = "frame_severity", ("frame_severity",)
        self.classes = CLASSES["severity"]
        hard = torch.eye(NUM_SEVERITIES, dtype=torch.float64)
        targets = sord_targets(positions) if loss == "sord" else hard
        self.register_buffer("targets", targets.float(), persistent=False)

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        images = to_rgb(batch["frames"])
        target = self.get_buffer("targets")[batch["frame_severity"]]
        if not hasattr(self.net, "branches"):
            return {"loss": soft_cross_entropy(self.net(images).float(), target).mean()}
        branches = self.net.branches(images)
        logits = branches.logits.float()
        losses = {"first": soft_cross_entropy(logits[:, 0], target).mean()}
        if logits.shape[1] > 1:
            losses["consistency"] = self.consistency * mse_loss(logits[:, 0], logits[:, 1])
        if (scales := branches.scales) is not None:
            prior = torch.tensor(PRIOR_SCALES).to(scales).expand_as(scales)
            losses["prior"] = self.prior * l1_loss(scales, prior)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.no_grad()
    def predict(self, frames: GreyFrames) -> dict[str, np.ndarray]:
        parts = frames.split(self.samples_per_pass(frames[0].numel()))
        outputs = [torch.softmax(self.net(to_rgb(part)).float(), 1) for part in parts]
        return {"outputs": torch.cat(outputs).cpu().numpy()}

    def lr_factor(self, parameter: str) -> float:
        return self.localiser if parameter.startswith("net.localiser.") else 1.0

    def find_attention(self, frames: GreyFrames) -> list[FrameAttention]:
        images = to_rgb(frames)
        if hasattr(self.net, "branches"):
            return self._crops(images)
        heat = grad_cam(self.net, images).cpu().numpy()
        probability = self.predict(frames)["outputs"]
        return [
            FrameAttention(p, heat=h, box=bounding_box(h))
            for p, h in zip(probability, heat, strict=True)
        ]

    @torch.no_grad()
    def _crops(self, images: Float[Tensor, "N 3 H W"]) -> list[FrameAttention]:
        branches = self.net.branches(images)
        crops = self.net.crops(images, branches.theta)[:, 0]
        crops = crops.unflatten(0, (len(images), -1)).cpu().numpy()
        quads = crop_corners(branches.theta).cpu().numpy()
        probability = torch.softmax(branches.logits[:, 0].float(), 1).cpu().numpy()
        return [
            FrameAttention(p, quads=q, crops=c)
            for p, q, c in zip(probability, quads, crops, strict=True)
        ]

    def target(self, row: PredictionRow) -> list[int] | None:
        return row["frame_severity"]

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        return frame_scores(rows, self.monitor)


def frame_scores(rows: Sequence[PredictionRow], monitor: str = "accuracy") -> dict[str, float]:
    """Scores of prediction rows with a target per frame; `score` is the monitored one."""
    rows = [row for row in rows if row["target"] is not None]
    if not rows:
        return {"score": float("nan")}
    target = np.concatenate([np.asarray(row["target"], np.int64) for row in rows])
    outputs = np.concatenate([np.asarray(row["outputs"], np.float64) for row in rows])
    counts = classification.confusion(target, outputs.argmax(axis=1), num_classes=NUM_SEVERITIES)
    scores = {
        "accuracy": float(classification.accuracy(counts)),
        "macro_f1": float(classification.macro_f1(counts)),
    }
    return {**scores, "score": scores[monitor]}


def to_rgb(frames: GreyFrames) -> Float[Tensor, "N 3 H W"]:
    """Grey frames as three equal channels, channels last; not normalised, as published."""
    return frames.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
