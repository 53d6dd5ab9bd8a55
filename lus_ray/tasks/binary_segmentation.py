"""Segmentation of one thing in a frame against everything else, such as B-lines.

Shapes: N frames, H rows, W columns, J outputs of the network.
Sources: Mason et al. 2021 (one output; cross-entropy and Dice with equal weights); Chen et al.
2019, "Synergistic image and feature adaptation" (two outputs; both losses balanced).
Why not `Segmentation`: B-lines cover few pixels, and plain cross-entropy over all pixels is small
for a network that finds none.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.tasks.losses import balanced_cross_entropy, foreground_dice, one_hot, soft_dice
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import Batch, GreyFrames


class BinarySegmentation(Segmentation):
    """Which pixels are class 1 of a scheme of two classes (cross-entropy + Dice, equal weights).

    `num_outputs` is what `net` is built with: one logit for class 1 (losses `bce`, and the `dice`
    of that class alone), or two logits (losses `cross_entropy`, with the classes balanced, and the
    `dice` of both). A pixel is of class 1 where its probability is above one half.

    Raises:
        ArmError: the scheme has more than two classes, or the outputs are neither one nor two.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        scheme: str = "bline",
        num_outputs: int = 1,
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        channels: int = 1,
        centred: bool = False,
        monitor: str = "dice",
    ) -> None:
        if num_outputs not in (1, 2):
            raise ArmError(f"binary segmentation has one or two outputs, not {num_outputs}")
        super().__init__(
            lambda **_: net(num_outputs=num_outputs), scheme, view, channels, centred, monitor
        )
        if len(self.classes) != 2:
            raise ArmError(
                f"binary segmentation has two classes, scheme {scheme!r} has {len(self.classes)}; "
                "use Segmentation"
            )
        self.num_outputs = num_outputs

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        logits = self.net(self.to_images(batch["frames"])).float()
        ids = batch["masks"][:, 0]
        if self.num_outputs == 1:
            logit, truth = logits[:, 0], (ids == 1).float()
            bce = binary_cross_entropy_with_logits(logit, truth)
            dice = foreground_dice(logit.sigmoid(), truth)
            return {"loss": bce + dice, "bce": bce, "dice": dice}
        cross_entropy = balanced_cross_entropy(logits, ids)
        dice = soft_dice(self.activate(logits), one_hot(ids, num_classes=2))
        return {"loss": cross_entropy + dice, "cross_entropy": cross_entropy, "dice": dice}

    def activate(self, logits: Float[Tensor, "N J H W"]) -> Float[Tensor, "N 2 H W"]:
        if self.num_outputs == 2:
            return super().activate(logits)
        return torch.cat([-logits, logits], dim=1).float().sigmoid()

    def estimate_uncertainty(
        self, frames: GreyFrames, *, num_samples: int = 40, seed: int = 0
    ) -> Float[np.ndarray, "N 2 H W"] | None:
        deviation = super().estimate_uncertainty(frames, num_samples=num_samples, seed=seed)
        if deviation is None or self.num_outputs == 2:
            return deviation
        return deviation.repeat(2, axis=1)
