"""The uninorm in closed form against the tree of pairwise uninorms that it replaces.

Letters: B clips, K scores, M frames.
Rivals: the code of Roy et al. 2020 splits the frames of a clip in halves until two are left, and
calls the pairwise uninorm for every pair; and the same tree of all clips level by level. All are
float64 with the product t-norm and min, forward and backward, on the same clips. The pairwise
uninorm is in an equal form with fewer operations.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from lus_ray.bench.measure import Comparison, Run, check_close, torch_threads
from lus_ray.nets.uninorm import Uninorm

NUM_SCORES = 4
TOLERANCE = 1e-9
TARGET = 50.0

Aggregate = Callable[[Tensor, Tensor], Tensor]
"""(clips (B, K, M), neutral (K,)) -> (B, K)."""


def compare(*, num_clips: int = 64, num_frames: int = 300) -> Iterator[tuple[str, Comparison]]:
    """Forward and backward with the gradient to the neutral elements."""
    clips, neutral = example(num_clips, num_frames)
    net = Uninorm(NUM_SCORES, initial=neutral.tolist())
    step = partial(values_and_gradient, clips=clips, neutral=net.neutral)
    ours = partial(step, lambda clips, _: net(clips))
    tree, by_levels = ({name: partial(step, rival)} for name, rival in RIVALS.items())
    with torch_threads(1):
        # A run of the published tree takes seconds.
        yield "gradient to neutral", Comparison(ours, tree, check_equal, TARGET, repeats=2)
        yield "gradient to neutral, by levels", Comparison(ours, by_levels, check_equal)


def example(num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """Clips (B, K, M) of softmax probabilities, and neutral elements (K,).

    About one frame of a clip lies below its neutral element, and the last score is rare: so many
    results of both branches lie between 0 and 1, where a wrong value or gradient shows.
    """
    generator = torch.Generator().manual_seed(0)
    size = (num_clips, NUM_SCORES, num_frames)
    logits = torch.randn(size, generator=generator, dtype=torch.float64)
    rarity = torch.tensor([0.0, 0.0, 2.0, 6.0])[:, None]
    clips = (logits - rarity).softmax(dim=1)
    neutral = clips.transpose(0, 1).flatten(1).quantile(1 / num_frames, dim=1)
    return clips, neutral


def check_equal(ours: Run, theirs: Run, name: str) -> None:
    """Raise LusError if values or gradients differ by more than 1e-9."""
    kinds = ("values", "gradients to the neutral elements")
    subjects = [f"uninorm: the {kind} of {name!r}" for kind in kinds]
    check_close(subjects, ours(), theirs(), rtol=TOLERANCE, atol=TOLERANCE)


def pair(
    x: Float64[Tensor, "*shape"], y: Float64[Tensor, "*shape"], e: Float64[Tensor, "*#shape"]
) -> Float64[Tensor, "*shape"]:
    """The pairwise uninorm; where both are equal to e, the t-conorm."""
    t_norm = x * y / e
    t_conorm = 1 - (1 - x) * (1 - y) / (1 - e)
    low, high = torch.minimum(x, y), torch.maximum(x, y)
    return torch.where(low >= e, t_conorm, torch.where(high <= e, t_norm, low))


def halves(frames: Float64[Tensor, "K M"], e: Float64[Tensor, "K"]) -> Float64[Tensor, "K"]:
    """The tree pair by pair, from the top down."""
    num_frames = frames.shape[-1]
    if num_frames == 1:
        return frames[:, 0]
    half = num_frames // 2
    return pair(halves(frames[:, :half], e), halves(frames[:, half:], e), e)


def levels(
    frames: Float64[Tensor, "*rows M"], e: Float64[Tensor, "*#rows"]
) -> Float64[Tensor, "*rows"]:
    """The tree level by level, from the bottom up; an odd frame waits for the next level."""
    while (num_frames := frames.shape[-1]) > 1:
        even = num_frames // 2 * 2
        joined = pair(frames[..., 0:even:2], frames[..., 1:even:2], e[..., None])
        frames = torch.cat([joined, frames[..., even:]], dim=-1) if even < num_frames else joined
    return frames[..., 0]


def published(
    clips: Float64[Tensor, "B K M"], neutral: Float64[Tensor, "K"]
) -> Float64[Tensor, "B K"]:
    """One clip after another."""
    return torch.stack([halves(clip, neutral) for clip in clips])


RIVALS: dict[str, Aggregate] = {
    "tree pair by pair, as published": published,
    "tree by levels, all clips at once": levels,
}


def values_and_gradient(
    aggregate: Aggregate, clips: Tensor, neutral: Tensor
) -> tuple[Tensor, Tensor]:
    """The values of all clips, and the gradient of their sum to the neutral elements."""
    values = aggregate(clips, neutral)
    (gradient,) = torch.autograd.grad(values.sum(), neutral)
    return values.detach(), gradient
