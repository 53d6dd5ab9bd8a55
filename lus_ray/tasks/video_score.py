"""Video scores: the score of a clip from a frozen frame model's predictions.

Shapes: B clips, M frames of a clip, K scores.
Source: Roy et al. 2020, section IV-B. The aggregated value of each score is a logit, trained
against SORD targets with a wide gap at score 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.clip import NUM_SEVERITIES
from lus_ray.data.labels import CLASSES
from lus_ray.data.transforms.view import Track
from lus_ray.tasks.losses import WIDE_GAP, soft_cross_entropy, sord_targets
from lus_ray.tasks.task import Batch, Task


class VideoScore(Task):
    """The severity of a clip by an aggregator over the frame probabilities of an earlier arm.

    `aggregator` builds a network of frame scores (B, K, M) and lengths; `track` selects the
    frames. The loss is summed over the clips, as published. `sharpness` is a factor on the
    logits in training, where 1 is published: a uninorm's U from 0 to 1 gives no clip a probability
    above 0.48, and so its loss says little of where the neutral elements are.
    """

    def __init__(
        self,
        aggregator: Callable[..., nn.Module],
        track: Track = Track(),  # noqa: B008  (frozen)
        positions: Sequence[float] = WIDE_GAP,
        monitor: str = "accuracy",
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.net: Any = aggregator(num_scores=NUM_SEVERITIES)
        self.view, self.monitor = track, monitor
        self.label, self.columns, self.classes = "severity", ("severity",), CLASSES["severity"]
        self.register_buffer("targets", sord_targets(positions), persistent=False)

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """`loss` (sum over clips), its mean, and the neutral elements if there are any."""
        logits = self.sharpness * self.net(batch["tracks"], batch["lengths"])
        target = self.get_buffer("targets")[batch["severity"]]
        by_clip = soft_cross_entropy(logits, target)
        neutral = getattr(self.net, "neutral", torch.zeros(0)).detach().clone()  # before the step
        return {
            "loss": by_clip.sum(),
            "clip_loss": by_clip.mean(),
            **{f"neutral_{score}": value for score, value in enumerate(neutral.unbind())},
        }

    def constrain(self) -> None:
        if hasattr(self.net, "constrain"):
            self.net.constrain()

    @torch.no_grad()
    def predict(self, track: Float[Tensor, "M K"]) -> dict[str, np.ndarray]:
        """`outputs` (1, K): the softmax of the scores; normalised odds U / (1 - U) of a uninorm."""
        score = self.net.decide(track.mT)
        return {"outputs": torch.softmax(score, dim=0)[None].float().cpu().numpy()}
