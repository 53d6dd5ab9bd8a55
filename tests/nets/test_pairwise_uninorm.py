"""The released uninorm: its tree, its mean off the diagonal, and ties of float32."""

import pytest
import torch
from torch import Tensor

from lus_ray.errors import InputError
from lus_ray.nets import PairwiseUninorm, Uninorm

LENGTHS = torch.tensor([9, 6, 5, 1])


def random_clips(num_frames: int = 9, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    logits = torch.randn(4, 4, num_frames, generator=generator, dtype=torch.float64)
    return (sharpness * logits).softmax(dim=1)


@pytest.mark.parametrize("off_diagonal", ["min", "max"])
@pytest.mark.parametrize("initial", [0.0, 0.2, 0.6, 1.0])
def test_the_tree_gives_the_closed_form_and_its_gradient(off_diagonal: str, initial: float):
    settings = {"off_diagonal": off_diagonal, "initial": initial}
    closed, tree = Uninorm(**settings), PairwiseUninorm(**settings, precision="float64")
    for net in (closed, tree):
        net(random_clips(), LENGTHS).sum().backward()
    expected = closed(random_clips(), LENGTHS)
    torch.testing.assert_close(tree(random_clips(), LENGTHS), expected, rtol=0, atol=1e-5)
    if 0 < initial < 1:
        torch.testing.assert_close(tree.neutral.grad, closed.neutral.grad, rtol=1e-9, atol=1e-9)


def test_the_mean_off_the_diagonal_follows_the_tree():
    net = PairwiseUninorm(1, off_diagonal="mean", precision="float64", initial=0.5)
    frames = torch.tensor([[0.2, 0.8, 0.6, 0.6, 0.1]], dtype=torch.float64)
    # (0.2, 0.8) -> 0.5; (0.6, 0.6) -> 1 - 0.4 * 0.4 / 0.5; both from e on -> t-conorm; 0.1 last.
    pair = 1 - 0.4 * 0.4 / 0.5
    both = 1 - 0.5 * (1 - pair) / 0.5
    assert net(frames).item() == pytest.approx((both + 0.1) / 2)
    moved = frames[:, [1, 2, 0, 3, 4]]
    assert abs(net(moved).item() - net(frames).item()) > 0.01


@pytest.mark.parametrize("off_diagonal", ["min", "max", "mean"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_padding_has_no_influence(off_diagonal: str, precision: str):
    net = PairwiseUninorm(off_diagonal=off_diagonal, precision=precision, initial=0.3)
    clips = random_clips()
    single = [net(c[:, :n]) for c, n in zip(clips, LENGTHS.tolist(), strict=True)]
    assert torch.equal(net(clips, LENGTHS), torch.stack(single))


def test_sharp_frames_tie_in_float32_and_the_first_score_wins():
    clips = random_clips(num_frames=200, sharpness=4.0)
    released, exact = PairwiseUninorm(initial=0.05), Uninorm(initial=0.05)
    assert (released.decide(clips) == released.decide(clips)[:, :1]).all()
    assert released.decide(clips).argmax(dim=1).tolist() == [0, 0, 0, 0]
    assert len(set(exact.decide(clips).argmax(dim=1).tolist())) > 1


def test_decisions_rank_as_scores_do():
    net, clips = PairwiseUninorm(initial=0.3), random_clips(4)
    assert torch.equal(net.decide(clips).argsort(dim=1), net(clips).argsort(dim=1))


@pytest.mark.parametrize("settings", [{"off_diagonal": "median"}, {"precision": "float16"}])
def test_unknown_choices_are_refused(unchecked, settings: dict):
    with pytest.raises(InputError, match="use min, max or mean, and float32 or float64"):
        PairwiseUninorm(**settings)
