"""Plain poolings of frame scores to the logarithm of a clip probability: baselines of the uninorm.

Letters as in `aggregator.py`.
"""

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from lus_ray.errors import InputError
from lus_ray.nets.aggregator import TINY, Aggregator, Clips, ClipScores, Present


class MaxArgmax(Aggregator):
    """The highest score that any frame predicts. Source: Roy et al. 2020, baseline max_argmax.

    Logarithm of the mean probability over the frames that predict this score: its argmax is the
    published decision.
    """

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        predicted = clips.argmax(dim=1, keepdim=True)
        if present is not None:
            predicted = torch.where(present, predicted, -1)
        deciding = predicted == predicted.amax(dim=-1, keepdim=True)
        return _log_mean(clips, deciding)


class ArgmaxMean(Aggregator):
    """The mean probability. Source: Roy et al. 2020, baseline argmax_mean."""

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        return _log_mean(clips, present)


class MeanLogit(Aggregator):
    """The mean log probability: the logarithmic opinion pool of Genest and Zidek 1986."""

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        return _mean(clips.clamp(min=TINY).log(), present)


class AttentionPool(Aggregator):
    """The mean probability with a learned weight per frame. Source: Ilse et al. 2018, equation 8.

    The weights are the softmax over the frames of w^T tanh(V log p), with `num_hidden` rows in V
    and no biases; p are the probabilities of a frame.
    """

    def __init__(self, num_scores: int = 4, *, num_hidden: int = 8) -> None:
        super().__init__(num_scores)
        if num_hidden < 1:
            raise InputError(f"attention with {num_hidden} hidden units; give 1 or more")
        self.hidden = nn.Linear(num_scores, num_hidden, bias=False, dtype=torch.float64)
        self.energy = nn.Linear(num_hidden, 1, bias=False, dtype=torch.float64)

    def weights(self, clips: Clips, present: Present) -> Float64[Tensor, "B 1 M"]:
        """Attention on each frame: at least 0, 0 beyond a clip, 1 in sum."""
        log = clips.clamp(min=TINY).log().transpose(1, 2)
        energy = self.energy(self.hidden(log).tanh()).transpose(1, 2)
        if present is not None:
            energy = energy.masked_fill(~present, -torch.inf)
        return energy.softmax(dim=-1)

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        pooled = (clips * self.weights(clips, present)).sum(-1)
        return pooled.clamp(min=TINY).log()


def _log_mean(clips: Tensor, frames: Tensor | None) -> Tensor:
    return _mean(clips, frames).clamp(min=TINY).log()


def _mean(values: Tensor, frames: Tensor | None) -> Tensor:
    if frames is None:
        return values.mean(-1)
    return torch.where(frames, values, 0).sum(-1) / frames.sum(-1)
