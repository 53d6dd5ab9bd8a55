"""Losses: overlap and balanced cross-entropy of masks, and SORD targets for ordered scores.

Shapes: N images, K classes or scores, H rows, W columns, B samples in a batch.
Sources: Chen et al. 2019, "Synergistic image and feature adaptation" (SIFA), as its released code
computes them; Mason et al. 2021 for the Dice of the foreground; Diaz and Marathe 2019 for
SORD, in the form of Roy et al. 2020, section IV-A.
Why sums of masks run over the whole batch: in a mean over images a few pixels would weigh as much
as a full mask. With several workers they run over the batch of all of them. Losses of masks are
computed in float32, whatever the network's precision.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from lus_ray.tasks.across_workers import mean_over_workers, sum_over_workers

EPSILON = 1e-7
"""Keeps a ratio of empty masks defined."""
LEAST_PROBABILITY = 0.005
"""Lower limit of the true class's probability; below it there is no gradient."""
POSITIONS = (0.0, 1.0, 2.0, 3.0)
"""Positions of the scores on a line, equally spaced."""
WIDE_GAP = (-0.5, 1.0, 2.0, 3.0)
"""Score 0 (a healthy lung) further off by 0.5, as in the training of video scores."""


def soft_dice(
    probability: Float[Tensor, "N K H W"], truth: Float[Tensor, "N K H W"]
) -> Float[Tensor, ""]:
    """1 minus the mean over classes, background included, of 2 sum pg / (sum p² + sum g).

    `truth` is 0 or 1. A class that no image of the batch has adds 1 / K and no gradient.
    """
    probability, truth = probability.float(), truth.float()
    both = (probability * truth).sum(dim=(0, 2, 3))
    size = probability.square().sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    both, size = sum_over_workers(torch.stack([both, size]))
    return 1 - (2 * both / (size + EPSILON)).mean()


def foreground_dice(
    probability: Float[Tensor, "N H W"], truth: Float[Tensor, "N H W"]
) -> Float[Tensor, ""]:
    """1 - (2 sum pg + e) / (sum p + sum g + e) of one class; 0 where it is in neither.

    Mason et al. do not print their formula; this is the one without squares.
    """
    probability, truth = probability.float(), truth.float()
    sums = torch.stack([(probability * truth).sum(), probability.sum() + truth.sum()])
    both, size = sum_over_workers(sums)
    return 1 - (2 * both + EPSILON) / (size + EPSILON)


def balanced_cross_entropy(
    logits: Float[Tensor, "N K H W"], ids: Integer[Tensor, "N H W"]
) -> Float[Tensor, ""]:
    """Mean over pixels of -(1 - share of the true class in the batch) log p of the true class.

    p is clamped to [0.005, 1]. A batch of one class has loss 0.
    """
    probability = logits.float().softmax(dim=1)
    truth = one_hot(ids, num_classes=logits.shape[1])
    weight = 1 - mean_over_workers(truth.mean(dim=(0, 2, 3), keepdim=True))
    logarithm = probability.clamp(LEAST_PROBABILITY, 1).log()
    return -(weight * truth * logarithm).sum(dim=1).mean()


def one_hot(ids: Integer[Tensor, "N H W"], *, num_classes: int) -> Float[Tensor, "N K H W"]:
    classes = torch.arange(num_classes, device=ids.device)[:, None, None]
    return (ids[:, None] == classes).float()


def sord_targets(positions: Sequence[float] = POSITIONS) -> Float[Tensor, "K K"]:
    """Soft targets by true score (row), float64: softmax of -2 d² over scores at distance d."""
    position = torch.tensor(positions, dtype=torch.float64)
    return torch.softmax(-2.0 * (position[:, None] - position[None, :]) ** 2, dim=1)


def soft_cross_entropy(
    logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"]
) -> Float[Tensor, "B"]:
    """Cross-entropy of each sample against a distribution over the scores."""
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1)
