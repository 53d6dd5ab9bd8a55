"""Dropout that takes a fraction of the time of torch's on a CPU.

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
overfitting".
Why: torch draws a random number for each element, which takes almost half of the time in the
decoder of a U-Net++. Sixteen random bits per element suffice, so one number serves four.
Why in chunks: they stay in the cache; for maps of 20 MB that is four times as fast.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 1 << 16
"""Probabilities are multiples of 1 / LEVELS; the scale of kept elements is exact for them."""

CHUNK = 1 << 16
"""Elements at a time; a multiple of 4, so that no random bits are lost."""


class Dropout(nn.Dropout):
    """torch's dropout with fewer random numbers; on other devices than the CPU torch's own."""

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        num_dropped = round(self.p * LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < num_dropped < LEVELS:
            return super().forward(input)
        if input.requires_grad and torch.is_grad_enabled():
            factors = torch.empty_like(input)
            for part in _chunks(factors):
                _fill_factors(part, num_dropped)
            return input.mul_(factors) if self.inplace else input * factors
        out = input if self.inplace and _is_dense(input) else input.clone()
        factors = input.new_empty(CHUNK)
        for part in _chunks(out):
            part.mul_(_fill_factors(factors[: len(part)], num_dropped))
        return out


def _fill_factors(factors: Tensor, num_dropped: int) -> Tensor:
    numbers = torch.empty(-(-len(factors) // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = numbers.view(torch.int16)[: len(factors)]  # from -LEVELS / 2 on
    torch.ge(bits, num_dropped - LEVELS // 2, out=factors)
    return factors.mul_(LEVELS / (LEVELS - num_dropped))


def _chunks(dense: Tensor) -> tuple[Tensor, ...]:
    """The elements in the order of memory: any other order takes many times as long."""
    return dense.as_strided((dense.numel(),), (1,)).split(CHUNK)


def _is_dense(tensor: Tensor) -> bool:
    return tensor.stride() == torch.empty_like(tensor, device="meta").stride()
