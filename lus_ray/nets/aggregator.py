"""The contract of an aggregator: from the scores of all frames of a clip to those of the clip.

Letters: K scores, M frames.
Computation is float64: over hundreds of frames float32 runs out of digits (see `uninorm.py`).
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from lus_ray.errors import InputError

FrameScores = Float[Tensor, "*batch K M"]
Logits = Float[Tensor, "*batch K"]
Lengths = Int[Tensor, "B"] | None
Clips = Float64[Tensor, "B K M"]
ClipScores = Float64[Tensor, "B K"]
Present = Bool[Tensor, "B 1 M"] | None
"""Which frames belong to their clip; None: all."""

TINY = 1e-12
"""Distance from 0 and 1 at which logarithms clamp: a float32 softmax gives exact 0 and 1."""
ROUNDING = 1e-6
"""A float32 probability may lie this far outside of [0, 1]; it is moved to the edge."""


class Aggregator(nn.Module, ABC):
    """Frame probabilities to clip logits; a subclass defines `logits` and may define `scores`."""

    def __init__(self, num_scores: int = 4) -> None:
        super().__init__()
        if num_scores < 1:
            raise InputError(f"an aggregator of {num_scores} scores; give 1 or more")
        self.num_scores = num_scores

    def forward(self, frame_scores: FrameScores, lengths: Lengths = None) -> Logits:
        """Float64 logits for training, of a clip (K, M) or of a padded batch (B, K, M).

        `lengths` are the numbers of frames of the clips, 1 to M (None: all M). Padding has no
        influence, whatever it holds.

        Raises:
            InputError: a clip without frames, a probability that is NaN or outside [0, 1], or a
                shape that does not fit.
        """
        clips, present = self._checked(frame_scores, lengths)
        return self.logits(clips, present).reshape(frame_scores.shape[:-1])

    def decide(self, frame_scores: FrameScores, lengths: Lengths = None) -> Logits:
        """Float64 scores: their softmax is the reported probability, their argmax the decision."""
        clips, present = self._checked(frame_scores, lengths)
        return self.scores(clips, present).reshape(frame_scores.shape[:-1])

    @abstractmethod
    def logits(self, clips: Clips, present: Present) -> ClipScores: ...

    def scores(self, clips: Clips, present: Present) -> ClipScores:
        return self.logits(clips, present)

    def _checked(self, frame_scores: Tensor, lengths: Tensor | None) -> tuple[Tensor, Present]:
        if frame_scores.ndim not in (2, 3) or frame_scores.shape[-2] != self.num_scores:
            raise InputError(
                f"frame scores have shape {tuple(frame_scores.shape)}; "
                f"give ({self.num_scores}, frames) or (clips, {self.num_scores}, frames)"
            )
        clips = frame_scores[None] if frame_scores.ndim == 2 else frame_scores
        clips = clips.to(torch.float64)
        present = _present(clips, lengths)
        if present is not None:
            clips = torch.where(present, clips, 0.5)  # any valid probability
        if clips.numel():
            lowest, highest = clips.detach().aminmax()
            if not (lowest >= 0 and highest <= 1):
                _refuse_beyond_rounding(clips)
                clips = clips.clamp(0, 1)
        return clips, present


def _present(clips: Tensor, lengths: Tensor | None) -> Present:
    num_clips, _, num_frames = clips.shape
    if lengths is None:
        if num_clips and not num_frames:
            raise InputError("clip 0 has no frames; leave clips without frames out")
        return None
    if lengths.shape != (num_clips,) or lengths.is_floating_point():
        raise InputError(
            f"lengths are {lengths.dtype} of shape {tuple(lengths.shape)}; "
            f"give one whole number for each of the {num_clips} clips"
        )
    unfit = (lengths < 1) | (lengths > num_frames)
    if unfit.any():
        clip = int(unfit.nonzero()[0])
        raise InputError(
            f"clip {clip} has {lengths[clip]} frames in a batch of {num_frames}; leave clips "
            "without frames out, and pad to the longest clip"
        )
    frames = torch.arange(num_frames, device=clips.device)
    return (frames < lengths.to(clips.device)[:, None])[:, None]


def _refuse_beyond_rounding(clips: Tensor) -> None:
    sound = (clips >= -ROUNDING) & (clips <= 1 + ROUNDING)  # False for NaN
    if not sound.all():
        clip, score, frame = (~sound).nonzero()[0].tolist()
        raise InputError(
            f"clip {clip}, score {score}, frame {frame}: probability "
            f"{clips[clip, score, frame].item():g}; give the softmax of the frame model, in [0, 1]"
        )
