"""Dropout that takes a fraction of the time of torch's on a CPU.

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
overfitting"; the same module as torch's, but for where the random bits come from.
Why: torch draws one random number for each element, and in the decoder of a U-Net++ that is almost
half of the time. Sixteen random bits decide an element as well, so one draw is enough for four.
Why in chunks: what lies between the draw and the factor then stays in the cache; for maps of 20 MB
that is four times as quick. The draws are the same ones in the same order.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 1 << 16
"""A chance is a whole number of 1 / LEVELS; what is kept is scaled by exactly that chance."""

CHUNK = 1 << 16
"""Elements at a time; a multiple of 4, so that no random bits are lost on the way."""


class Dropout(nn.Dropout):
    """Zeros with chance `p`, and the rest scaled up, in training; on other devices torch's own.

    `inplace` is for an input that nobody reads again, and that no backward pass needs.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The input with zeros; in evaluation, as it is."""
        num_dropped = round(self.p * LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < num_dropped < LEVELS:
            return super().forward(input)
        if input.requires_grad and torch.is_grad_enabled():
            factors = torch.empty_like(input)
            for part in _chunks(factors):
                _draw(part, num_dropped)
            return input.mul_(factors) if self.inplace else input * factors
        out = input if self.inplace and _is_dense(input) else input.clone()
        factors = input.new_empty(CHUNK)
        for part in _chunks(out):
            part.mul_(_draw(factors[: len(part)], num_dropped))
        return out


def _draw(factors: Tensor, num_dropped: int) -> Tensor:
    """Fill with zeros and with what the rest is scaled by."""
    draws = torch.empty(-(-len(factors) // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = draws.view(torch.int16)[: len(factors)]  # from -LEVELS / 2 on
    torch.ge(bits, num_dropped - LEVELS // 2, out=factors)
    return factors.mul_(LEVELS / (LEVELS - num_dropped))


def _chunks(dense: Tensor) -> tuple[Tensor, ...]:
    """The elements as they lie in memory: in any other order they would take many times as long."""
    return dense.as_strided((dense.numel(),), (1,)).split(CHUNK)


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill their memory without a gap, in whatever order."""
    return tensor.stride() == torch.empty_like(tensor, device="meta").stride()
