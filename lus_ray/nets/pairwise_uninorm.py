"""Uninorms as Roy et al. 2020 released them: pair by pair, in float32.

Letters as in `aggregator.py`; e the neutral element of a score.
The pairwise operator is that of `uninorm.py` with the product. Frames are joined in a balanced
binary tree: neighbours in pairs, the last one of an odd number passes on. "min" and "max" do not
depend on the tree; the mean of a pair on both sides of e is not associative and does.
Over tens of sharp frames several float32 scores are exactly 0 or 1. The decision is then the first
of them, as released, where `Uninorm` ranks by logarithms.
"""

from typing import Literal

import torch
from torch import Tensor

from lus_ray.errors import InputError
from lus_ray.nets.aggregator import Clips, ClipScores, Present
from lus_ray.nets.uninorm import EDGE, Uninorm

SMALLEST = 5e-324
"""The smallest positive float64, for the logit of 0 and of 1."""


class PairwiseUninorm(Uninorm):
    """A product uninorm per score over a tree of frames, computed in `precision`.

    `off_diagonal` joins a pair on both sides of the neutral element. `neutral` (K,) starts at
    `initial`. Among equal scores the first decides.

    Raises:
        InputError: an unknown choice, or a neutral element outside [0, 1].
    """

    def __init__(
        self,
        num_scores: int = 4,
        *,
        off_diagonal: Literal["min", "max", "mean"] = "min",
        precision: Literal["float32", "float64"] = "float32",
        initial: float = 0.0,
    ) -> None:
        super().__init__(num_scores, initial=initial)
        if off_diagonal not in ("min", "max", "mean") or precision not in ("float32", "float64"):
            raise InputError(
                f"no pairwise uninorm {off_diagonal!r} in {precision!r}; use min, max or mean, "
                "and float32 or float64"
            )
        self.pair_rule, self.precision = off_diagonal, precision

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        """U, from 0 to 1."""
        dtype = torch.float32 if self.precision == "float32" else torch.float64
        return self._reduce(clips.to(dtype), present).to(torch.float64)

    @torch.no_grad()
    def scores(self, clips: Clips, present: Present) -> ClipScores:
        """logit U, finite, increasing in U, and equal where U is; without a gradient."""
        u = self.logits(clips, present)
        return u.clamp(min=SMALLEST).log() - (1 - u).clamp(min=SMALLEST).log()

    def _reduce(self, values: Tensor, present: Present) -> Tensor:
        self.check_neutral()
        while (num_values := values.shape[-1]) > 1:
            paired = num_values - num_values % 2
            left, right = values[..., 0:paired:2], values[..., 1:paired:2]
            joined = self._join(left, right)
            if present is not None:  # padding lies behind the frames of a clip
                joined = torch.where(present[..., 1:paired:2], joined, left)
                present = present[..., ::2]
            values = torch.cat([joined, values[..., paired:]], dim=-1)
        return values[..., 0]

    def _join(self, x: Tensor, y: Tensor) -> Tensor:
        e = self.neutral.to(x.dtype)[:, None]
        low, high = torch.minimum(x, y), torch.maximum(x, y)
        t_norm = x * y / e.clamp(min=EDGE)
        t_conorm = 1 - (1 - x) * (1 - y) / (1 - e).clamp(min=EDGE)
        mixed = {"min": low, "max": high, "mean": (x + y) / 2}[self.pair_rule]
        return torch.where(low >= e, t_conorm, torch.where(high <= e, t_norm, mixed)).clamp(0, 1)
