"""Tasks that a network learns from the frames of a clip: biomarkers, and one label of a clip.

Shapes: B clips in a batch, S samples of a clip, T frames, H rows, W columns, K outputs, D features.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lus_ray.clip import BIOMARKERS
from lus_ray.data.labels import classes_of
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.metrics import multilabel
from lus_ray.tasks.across_workers import sum_over_workers
from lus_ray.tasks.losses import sord_targets
from lus_ray.tasks.task import Batch, PredictionRow, Task, class_scores, with_arguments


class ClipNetwork(Task):
    """A backbone over sampled frames, with outputs per sample."""

    clips_share_a_pass: ClassVar[bool] = True

    def __init__(
        self, backbone: Callable[..., nn.Module], view: View, label: str, classes: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.view = view
        self.label, self.columns, self.classes = label, (label,), classes
        sized = with_arguments(backbone, {"num_frames": view.num_frames})
        self.net: Any = sized(num_outputs=len(classes))

    @torch.no_grad()
    def predict(self, frames: Float[Tensor, "S T H W"]) -> dict[str, np.ndarray]:
        """Per sample: `outputs` (S, K) probabilities and pooled `features` (S, D)."""
        features = self.net.features(frames)
        arrays = {"outputs": self.activate(self.net.head(features)), "features": features}
        return {name: values.float().cpu().numpy() for name, values in arrays.items()}

    def activate(self, logits: Float[Tensor, "S K"]) -> Float[Tensor, "S K"]:
        return torch.softmax(logits.float(), dim=-1)


class ClipLabel(ClipNetwork):
    """One class per clip, of a label that is built in or of one's own with these `classes`.

    The loss is cross-entropy. Where the classes are `ordered`, targets are soft: the further a
    class is from the true one, the less it gets (SORD). `monitor` is the validation score that
    selects the epoch: "accuracy" (published) or "auc".

    Raises:
        ArmError: the label has no classes, or both `ordered` and `smoothing` soften the targets.
    """

    targets: Tensor | None

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        label: str,
        view: View = View(),  # noqa: B008  (frozen)
        monitor: str = "accuracy",
        smoothing: float = 0.0,
        classes: Sequence[str] = (),
        ordered: bool = False,
    ) -> None:
        if ordered and smoothing:
            raise ArmError(f"ClipLabel: smoothing is {smoothing}; ordered classes need 0")
        super().__init__(backbone, view, label, classes_of(label, classes))
        self.monitor, self.smoothing = monitor, smoothing
        positions = range(len(self.classes))
        soft = sord_targets(positions).float() if ordered else None
        self.register_buffer("targets", soft, persistent=False)

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        logits, target = self.net(batch["frames"]), batch[self.label]
        if self.targets is not None:
            target = self.targets[target]
        return {"loss": cross_entropy(logits, target, label_smoothing=self.smoothing)}


class Biomarkers(ClipNetwork):
    """38 check boxes per clip (binary cross-entropy over the annotated entries)."""

    multilabel: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        view: View = View(),  # noqa: B008  (frozen)
        monitor: str = "accuracy",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, view, "biomarkers", BIOMARKERS)
        self.monitor, self.smoothing = monitor, smoothing

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """Mean binary cross-entropy over entries 0 and 1; entries of -1 have no gradient."""
        logits = self.net(batch["frames"]).float()
        target = batch["biomarkers"].float()
        annotated = target >= 0
        smoothed = target.clamp(min=0) * (1 - self.smoothing) + 0.5 * self.smoothing
        losses = binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        total, number = sum_over_workers(torch.stack([(losses * annotated).sum(), annotated.sum()]))
        return {"loss": total / number.clamp(min=1)}

    def activate(self, logits: Float[Tensor, "S K"]) -> Float[Tensor, "S K"]:
        return torch.sigmoid(logits.float())

    def target(self, row: PredictionRow) -> list[int] | None:
        return row["biomarkers"]

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        return class_scores(rows, self.monitor, partial(multilabel.score, classes=BIOMARKERS))
