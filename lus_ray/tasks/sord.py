"""SORD: soft targets for ordered scores, and the cross-entropy against them.

Letters: B samples in a batch, K scores.
Source: Diaz and Marathe 2019 in the form of Roy et al. 2020, section IV-A: a score that is near
the true one is a smaller error than one that is far.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

POSITIONS = (0.0, 1.0, 2.0, 3.0)
"""Places of the scores on a line, plain."""

WIDE_GAP = (-0.5, 1.0, 2.0, 3.0)
"""A healthy lung stands further off: score 0 moved by 0.5, as in the training of video scores."""

STEEPNESS = 2.0


def sord(positions: Sequence[float] = POSITIONS) -> Float[Tensor, "K K"]:
    """Targets by true score (row), float64: softmax over scores of -2 d², d their distance."""
    place = torch.tensor(positions, dtype=torch.float64)
    distance = STEEPNESS * (place[:, None] - place[None, :]) ** 2
    return torch.softmax(-distance, dim=1)


def soft_cross_entropy(
    logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"]
) -> Float[Tensor, "B"]:
    """Cross-entropy of each sample against a distribution over the scores."""
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1)
