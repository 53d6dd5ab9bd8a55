"""The contract of an aggregator: the scores of all frames of a clip become the score of the clip.

Letters: B clips, K scores, M frames.
An aggregator takes frame probabilities in [0, 1], one clip (K, M) or a padded batch (B, K, M)
with the number of frames of each clip, and gives one number per score. All of it is float64:
over hundreds of frames a float32 runs out of digits (`uninorm.py` says how).
Why the checks are here: every aggregator refuses the same input in the same words, and none of
them can see what lies beyond the end of a clip.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lus_ray.errors import InputError

TINY = 1e-12
"""Probabilities enter a logarithm no closer than this to 0 and 1 (methods of Roy et al. 2020 in
log space; a float32 softmax gives exact zeros and ones)."""

ROUNDING = 1e-6
"""A float32 probability may lie this far outside of [0, 1]; it is moved to the edge."""


class Aggregator(nn.Module):
    """Frame probabilities to clip logits; a subclass defines `logits` and may define `scores`.

    Parameters are float64. `num_scores` is K.
    """

    def __init__(self, num_scores: int = 4) -> None:
        super().__init__()
        if num_scores < 1:
            raise InputError(f"an aggregator of {num_scores} scores; give 1 or more")
        self.num_scores = num_scores

    def forward(
        self, frame_scores: Float[Tensor, "*batch K M"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "*batch K"]:
        """Logits to train on, float64, of one clip (K, M) or of a padded batch (B, K, M).

        `lengths` are the frames of each clip, 1 to M; without them every clip has all M. What
        lies beyond a clip's length has no influence, whatever it holds.

        Raises:
            InputError: a clip without frames, a probability that is NaN or outside [0, 1], or a
                shape that does not fit.
        """
        clips, present = self._checked(frame_scores, lengths)
        return self.logits(clips, present).reshape(frame_scores.shape[:-1])

    def decide(
        self, frame_scores: Float[Tensor, "*batch K M"], lengths: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "*batch K"]:
        """Scores whose softmax is the probability reported and whose argmax is the decision.

        Float64; input and errors as in `forward`.
        """
        clips, present = self._checked(frame_scores, lengths)
        return self.scores(clips, present).reshape(frame_scores.shape[:-1])

    def logits(
        self, clips: Float[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float[Tensor, "B K"]:
        """What is trained: checked float64 clips; `present` marks their frames (None: all)."""
        raise TypeError(f"{type(self).__name__} does not define logits")

    def scores(
        self, clips: Float[Tensor, "B K M"], present: Bool[Tensor, "B 1 M"] | None
    ) -> Float[Tensor, "B K"]:
        """Scores of the decision; the logits unless a subclass has better ones."""
        return self.logits(clips, present)

    def _checked(
        self, frame_scores: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The clips as (B, K, M) float64 in [0, 1], and which of their frames are present."""
        if frame_scores.ndim not in (2, 3) or frame_scores.shape[-2] != self.num_scores:
            raise InputError(
                f"frame scores have shape {tuple(frame_scores.shape)}; "
                f"give ({self.num_scores}, frames) or (clips, {self.num_scores}, frames)"
            )
        clips = frame_scores[None] if frame_scores.ndim == 2 else frame_scores
        clips = clips.to(torch.float64)
        present = _present(clips, lengths)
        if present is not None:
            # Any valid probability; absent frames have no influence.
            clips = torch.where(present, clips, 0.5)
        if clips.numel():
            lowest, highest = clips.detach().aminmax()
            if not (lowest >= 0 and highest <= 1):
                _refuse_beyond_rounding(clips)
                clips = clips.clamp(0, 1)
        return clips, present


def _present(clips: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Which frames belong to their clip, (B, 1, M); None where all do."""
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
