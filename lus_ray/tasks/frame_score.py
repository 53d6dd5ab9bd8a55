"""Frame scores: the severity of every single frame, and where the network looked.

Letters: N frames, C crops of a frame, H rows, W columns, K scores.
Source: Roy et al. 2020, section IV-A: SORD on the branch of the small crop, consistency of the
two branches (equation 5) and a prior on their scales (equation 6).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
from lus_ray.tasks.task import Batch, Task, with_arguments

CHUNK = 64
"""Frames predicted at a time: a long clip must not fill the memory."""

BoxOfHeat = tuple[float, float, float, float]


@dataclass(frozen=True)
class FrameAttention:
    """What a network looked at in one frame.

    `quads`: corners (C, 4, 2) of its crops in fractions of the picture, x before y; `crops` what
    it saw there, grey in [0, 1]; `heat`: Grad-CAM (H, W) in [0, 1] where it saw the whole frame,
    and `box` (left, top, right, bottom) around the hottest part, in fractions.
    """

    probability: Float[np.ndarray, "K"]
    quads: Float[np.ndarray, "C 4 2"] | None = None
    crops: Float[np.ndarray, "C h w"] | None = None
    heat: Float[np.ndarray, "H W"] | None = None
    box: BoxOfHeat | None = None


class FrameScore(Task):
    """A score 0-3 for each frame of a clip.

    `net` takes colour images (N, 3, H, W) in [0, 1]; where it has `branches`, the first one
    answers, and the others are held to it by `consistency` (mean squared difference of logits)
    and, where it has scales, by `prior`. `loss` is "sord" or "cross-entropy"; `positions` are the
    places of the scores for SORD. `localiser` is a factor on the learning rate of what places the
    crops (1 as published). `monitor` is the validation score that picks the epoch.
    """

    by_frame: ClassVar[bool] = True

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
        """`loss` and its parts, means over the batch."""
        images = colour(batch["frames"])
        target = self.get_buffer("targets")[batch["frame_severity"]]
        if not hasattr(self.net, "branches"):
            return {"loss": soft_cross_entropy(self.net(images).float(), target).mean()}
        seen = self.net.branches(images)
        logits = seen.logits.float()
        losses = {"first": soft_cross_entropy(logits[:, 0], target).mean()}
        if logits.shape[1] > 1:
            apart = mse_loss(logits[:, 0], logits[:, 1])
            losses["consistency"] = self.consistency * apart
        if seen.scales is not None:
            wanted = torch.tensor(PRIOR_SCALES).to(seen.scales).expand_as(seen.scales)
            losses["prior"] = self.prior * l1_loss(seen.scales, wanted)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.no_grad()
    def predict(self, frames: Float[Tensor, "N 1 H W"]) -> dict[str, np.ndarray]:
        """`outputs` (N, K): the probabilities of every frame."""
        parts = frames.split(self.samples_per_pass(frames[0].numel()))
        said = [torch.softmax(self.net(colour(part)).float(), 1) for part in parts]
        return {"outputs": torch.cat(said).cpu().numpy()}

    def samples_per_pass(self, num_pixels: int) -> int:
        """A few frames, whatever their size."""
        return CHUNK

    def lr_factor(self, parameter: str) -> float:
        """What places the crops may learn at a rate of its own."""
        return self.localiser if parameter.startswith("net.localiser.") else 1.0

    def find_attention(self, frames: Float[Tensor, "N 1 H W"]) -> list[FrameAttention]:
        """Where the network looked in each frame: its crops, or the heat of the whole picture."""
        images = colour(frames)
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
        seen = self.net.branches(images)
        crops = self.net.crops(images, seen.theta)[:, 0]
        crops = crops.unflatten(0, (len(images), -1)).cpu().numpy()
        quads = crop_corners(seen.theta).cpu().numpy()
        probability = torch.softmax(seen.logits[:, 0].float(), 1).cpu().numpy()
        return [
            FrameAttention(p, quads=q, crops=c)
            for p, q, c in zip(probability, quads, crops, strict=True)
        ]

    def target(self, row: Mapping[str, Any]) -> list[int] | None:
        """One score per frame, or None where frames are not annotated."""
        return row["frame_severity"]

    def score(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy (micro F1) and macro F1 over all frames of the rows."""
        return frame_scores(rows, self.monitor)


def frame_scores(rows: Sequence[Mapping[str, Any]], monitor: str = "accuracy") -> dict[str, float]:
    """Scores of prediction rows with a target per frame; `score` is the monitored one."""
    rows = [row for row in rows if row["target"] is not None]
    if not rows:
        return {"score": float("nan")}
    target = np.concatenate([np.asarray(row["target"], np.int64) for row in rows])
    said = np.concatenate([np.asarray(row["outputs"], np.float64) for row in rows]).argmax(axis=1)
    counts = classification.confusion(target, said, num_classes=NUM_SEVERITIES)
    kept = {
        "accuracy": float(classification.accuracy(counts)),
        "macro_f1": float(classification.macro_f1(counts)),
    }
    return {**kept, "score": kept[monitor]}


def colour(frames: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 3 H W"]:
    """Grey frames as three equal channels; nothing is normalised, as published.

    Channels last, the memory format in which convolutions are fastest.
    """
    return frames.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
