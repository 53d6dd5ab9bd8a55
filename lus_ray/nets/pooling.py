"""Plain poolings of frame scores to a clip score: baselines of the uninorm.

Letters: B clips, K scores, M frames, H hidden units.
Each one gives the logarithm of a probability, to train on and to decide by. The contract is in
`aggregator.py`.
"""

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn

from lus_ray.errors import InputError
from lus_ray.nets.aggregator import TINY, Aggregator


class MaxArgmax(Aggregator):
    """The highest score that any frame predicts. Source: Roy et al. 2020, baseline max_argmax.

    It has no parameters. Its number is the logarithm of the mean probability over the frames that
    predict this score, so its argmax is the published decision and its softmax is how sure those
    frames are.
    """

    def logits(
        self, clips: Float64[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float64[Tensor, "B K"]:
        """Logarithm of the mean probability over the frames of the highest argmax."""
        predicted = clips.argmax(dim=1, keepdim=True)
        if present is not None:
            predicted = torch.where(present, predicted, -1)
        deciding = predicted == predicted.amax(dim=-1, keepdim=True)
        return _log_mean(clips, deciding)


class ArgmaxMean(Aggregator):
    """The argmax of the mean probability. Source: Roy et al. 2020, baseline argmax_mean.

    It has no parameters.
    """

    def logits(
        self, clips: Float64[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float64[Tensor, "B K"]:
        """Logarithm of the mean probability."""
        return _log_mean(clips, present)


class MeanLogit(Aggregator):
    """The mean of the log probabilities: independent frames, tempered.

    It has no parameters. Source: the logarithmic opinion pool (Genest and Zidek 1986) with
    equal weights.
    """

    def logits(
        self, clips: Float64[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float64[Tensor, "B K"]:
        """Mean over the frames of the log probability."""
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

    def weights(
        self, clips: Float64[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float64[Tensor, "B 1 M"]:
        """Attention on each frame: at least 0, 0 beyond a clip, 1 in sum."""
        log = clips.clamp(min=TINY).log().transpose(1, 2)
        energy = self.energy(self.hidden(log).tanh()).transpose(1, 2)
        if present is not None:
            energy = energy.masked_fill(~present, -torch.inf)
        return energy.softmax(dim=-1)

    def logits(
        self, clips: Float64[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float64[Tensor, "B K"]:
        """Logarithm of the weighted mean probability."""
        pooled = (clips * self.weights(clips, present)).sum(-1)
        return pooled.clamp(min=TINY).log()


def _log_mean(clips: Tensor, frames: Tensor | None) -> Tensor:
    return _mean(clips, frames).clamp(min=TINY).log()


def _mean(values: Tensor, frames: Tensor | None) -> Tensor:
    """Mean over the marked frames (B, 1, M), or over all of them: (B, K)."""
    if frames is None:
        return values.mean(-1)
    return torch.where(frames, values, 0).sum(-1) / frames.sum(-1)
