"""Uninorms: frames below a learned neutral element act as "and", frames above it as "or".

Letters as in `aggregator.py`; e the neutral element of a score, n the frames of a clip.
Source: Roy et al. 2020, section on video aggregation, with the pairwise operator
    U(x, y) = e T(x / e, y / e)                              both at or below e
    U(x, y) = e + (1 - e) S((x - e) / (1 - e), (y - e) / (1 - e))   both at or above e
    U(x, y) = min(x, y), or max(x, y)                        one on each side
which is associative, so that its value over n frames has a closed form. With "min", the frames L
below e decide if there are any, otherwise all frames:
    product      U = e^(1 - |L|) prod_L x_i,   or  1 - (1 - e)^(1 - n) prod (1 - x_i)
    Łukasiewicz  U = max(0, sum_L x_i - (|L| - 1) e),   or  min(1, sum x_i - (n - 1) e)
With "max" the frames above e come first, and t-norm and t-conorm change places.

Why logarithms: over hundreds of frames U or 1 - U is far below what a float can hold beside 1,
and scores tie at 0 or 1. Their logarithms stay apart, so `decide` ranks by logit U.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lus_ray.errors import InputError
from lus_ray.nets.aggregator import TINY, Aggregator, Clips, ClipScores, Present

EDGE = 1e-6
"""In logarithms a neutral element this close to 0 or 1 counts as 0 or 1."""


class Uninorm(Aggregator):
    """A uninorm per score with a learnable neutral element `neutral` (K,), float64, in [0, 1].

    `t_norm` is T, with its dual t-conorm S; `off_diagonal` applies to frames on both sides of e.
    `initial` are the first neutral elements, one number or one per score; at 0 the product uninorm
    is a noisy "or", at 1 a product. `forward` gives U in [0, 1], which the paper puts into a
    softmax; `decide` gives logit U. The gradient is that of the closed form, without the jump of U
    where e meets a frame score.

    Raises:
        InputError: an unknown choice, or a neutral element that is NaN or outside [0, 1].
    """

    neutral: nn.Parameter

    def __init__(
        self,
        num_scores: int = 4,
        *,
        t_norm: Literal["product", "lukasiewicz"] = "product",
        off_diagonal: Literal["min", "max"] = "min",
        initial: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(num_scores)
        if t_norm not in ("product", "lukasiewicz") or off_diagonal not in ("min", "max"):
            raise InputError(
                f"no uninorm {t_norm!r} with {off_diagonal!r}; use product or lukasiewicz, "
                "with min or max"
            )
        self.t_norm, self.off_diagonal = t_norm, off_diagonal
        start = torch.as_tensor(initial, dtype=torch.float64)
        if start.shape not in ((), (num_scores,)):
            raise InputError(
                f"{start.numel()} initial neutral elements for {num_scores} scores; give one "
                "number, or one per score"
            )
        self.neutral = nn.Parameter(start.repeat(num_scores) if start.ndim == 0 else start.clone())
        self.check_neutral()

    @torch.no_grad()
    def constrain(self) -> None:
        """Clamp the neutral elements into [0, 1]; as published, after every optimiser step."""
        self.neutral.clamp_(0, 1)

    def check_neutral(self) -> None:
        """Raise InputError for a neutral element that is NaN or outside [0, 1]."""
        sound = (self.neutral >= 0) & (self.neutral <= 1)  # False for NaN
        if not sound.all():
            score = int((~sound).nonzero()[0])
            raise InputError(
                f"the neutral element of score {score} is {self.neutral[score].item():g}, outside "
                "[0, 1]; begin inside and call constrain() after every optimiser step"
            )

    def logits(self, clips: Clips, present: Present) -> ClipScores:
        """U, from 0 to 1."""
        if self.t_norm == "lukasiewicz":
            return self._unclipped(clips, present).clamp(0, 1)
        log, is_log_u = self._log(clips, present)
        return torch.where(is_log_u, log.exp(), -log.expm1())

    def scores(self, clips: Clips, present: Present) -> ClipScores:
        """logit U, finite and strictly increasing in U even where U ties as a float.

        The Łukasiewicz U is exactly 0 or 1 for most long clips; there the logit continues with
        slope 1 in the sum before clipping.
        """
        if self.t_norm == "lukasiewicz":
            unclipped = self._unclipped(clips, present)
            inside = unclipped.clamp(TINY, 1 - TINY)
            return inside.logit() + (unclipped - inside)
        log, is_log_u = self._log(clips, present)
        logit = log - (-log.expm1()).log()
        return torch.where(is_log_u, logit, -logit)

    def _log(self, clips: Tensor, present: Present) -> tuple[Tensor, Tensor]:
        """The product uninorm as log U or log(1 - U), whichever keeps its digits; whether log U."""
        e = _snapped(self.neutral)
        decisive, num_decisive = self._decisive(clips, present, e)
        num_frames = clips.shape[-1] if present is None else present.count_nonzero(-1)
        x = _inside(clips)
        # Clamped on one side only: at e = 0 the gradient of the t-conorm must survive, at e = 1
        # that of the t-norm.
        log_e, log_1me = e.clamp(min=EDGE).log(), (-e.clamp(max=1 - EDGE)).log1p()
        if self.off_diagonal == "min":
            t_norm = _log_product(x, decisive) - (num_decisive - 1) * log_e
            t_conorm = _log_product_of_rest(x, present) - (num_frames - 1) * log_1me
            return torch.where(num_decisive > 0, t_norm, t_conorm), num_decisive > 0
        t_norm = _log_product(x, present) - (num_frames - 1) * log_e
        t_conorm = _log_product_of_rest(x, decisive) - (num_decisive - 1) * log_1me
        return torch.where(num_decisive > 0, t_conorm, t_norm), num_decisive == 0

    def _unclipped(self, clips: Tensor, present: Tensor | None) -> Tensor:
        decisive, num_decisive = self._decisive(clips, present, self.neutral)
        all_frames = num_decisive[..., None] == 0
        summed = decisive | (all_frames if present is None else all_frames & present)
        num_summed = summed.count_nonzero(-1)
        return torch.where(summed, clips, 0).sum(-1) - (num_summed - 1) * self.neutral

    def _decisive(self, clips: Tensor, present: Tensor | None, e: Tensor) -> tuple[Tensor, Tensor]:
        self.check_neutral()
        e = e.detach()[:, None]
        # These frames decide alone.
        decisive = clips < e if self.off_diagonal == "min" else clips > e
        if present is not None:
            decisive = decisive & present
        return decisive, decisive.count_nonzero(-1)


def _snapped(neutral: Tensor) -> Tensor:
    with torch.no_grad():
        snapped = torch.where(neutral <= EDGE, 0, torch.where(neutral >= 1 - EDGE, 1, neutral))
    return neutral + (snapped - neutral).detach()


def _inside(clips: Tensor) -> Tensor:
    """Move probabilities off 0 and 1, with the gradient of the closed form at those edges."""
    if not clips.requires_grad:
        return clips.clamp(TINY, 1 - TINY)
    return clips + (clips.clamp(TINY, 1 - TINY) - clips).detach()


def _log_product(x: Tensor, frames: Tensor | None) -> Tensor:
    # Other frames become 1 before the logarithm: no gradient, no infinity.
    return (x if frames is None else torch.where(frames, x, 1)).log().sum(-1)


def _log_product_of_rest(x: Tensor, frames: Tensor | None) -> Tensor:
    return (-(x if frames is None else torch.where(frames, x, 0))).log1p().sum(-1)
