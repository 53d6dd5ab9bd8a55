"""The poolings, and the contract of every aggregator."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from lus_ray.errors import InputError
from lus_ray.nets.aggregator import Aggregator
from lus_ray.nets.pairwise_uninorm import PairwiseUninorm
from lus_ray.nets.pooling import ArgmaxMean, AttentionPool, MaxArgmax, MeanLogit
from lus_ray.nets.uninorm import Uninorm

AGGREGATORS: dict[str, Callable[[], Aggregator]] = (
    {kind.__name__: kind for kind in (MaxArgmax, ArgmaxMean, MeanLogit, AttentionPool)}
    | {
        f"Uninorm {t_norm} {off}": partial(
            Uninorm, t_norm=t_norm, off_diagonal=off, initial=[0.0, 1e-7, 0.3, 1.0]
        )
        for t_norm, off in itertools.product(("product", "lukasiewicz"), ("min", "max"))
    }
    | {
        f"PairwiseUninorm {off}": partial(
            PairwiseUninorm, off_diagonal=off, precision="float64", initial=0.3
        )
        for off in ("min", "max")
    }
)

FRAMES = torch.tensor(
    [[0.7, 0.1, 0.6], [0.1, 0.2, 0.3], [0.1, 0.4, 0.1], [0.1, 0.3, 0.0]], dtype=torch.float64
)
"""Three frames that predict the scores 0, 2 and 0."""


@pytest.fixture(params=sorted(AGGREGATORS))
def net(request: pytest.FixtureRequest) -> Aggregator:
    torch.manual_seed(0)
    return AGGREGATORS[request.param]()


def random_clips(num_clips: int, num_frames: int) -> Tensor:
    """Softmax of normal logits, (B, 4, M) float64."""
    generator = torch.Generator().manual_seed(num_clips + num_frames)
    logits = torch.randn(num_clips, 4, num_frames, generator=generator, dtype=torch.float64)
    return logits.softmax(dim=1)


def test_the_highest_frame_decides_max_argmax():
    assert MaxArgmax().decide(FRAMES).softmax(0).tolist() == pytest.approx(FRAMES[:, 1].tolist())
    clips = random_clips(200, 30)
    expected = clips.argmax(dim=1).amax(dim=1)
    assert torch.equal(MaxArgmax().decide(clips).argmax(dim=1), expected)


def test_the_mean_probability_decides_argmax_mean():
    mean = ArgmaxMean().decide(FRAMES).softmax(0)
    assert mean.tolist() == pytest.approx(FRAMES.mean(dim=1).tolist())


def test_mean_logit_is_the_geometric_mean_and_survives_zeros():
    frames = torch.tensor([[0.9, 0.1], [0.04, 0.25]])
    assert MeanLogit(2)(frames).exp().tolist() == pytest.approx([0.3, 0.1])
    assert torch.isfinite(MeanLogit()(FRAMES)).all()


def test_attention_with_equal_energies_is_the_mean():
    net = AttentionPool()
    torch.nn.init.zeros_(net.energy.weight)
    torch.testing.assert_close(net(FRAMES), ArgmaxMean()(FRAMES))


def test_attention_can_select_a_frame():
    # V reads the log probability of score 0, w prefers it low: the second frame of three.
    net = AttentionPool(num_hidden=1)
    with torch.no_grad():
        net.hidden.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        net.energy.weight.fill_(-1000.0)
    assert net(FRAMES).softmax(0).tolist() == pytest.approx(FRAMES[:, 1].tolist())


def test_attention_weights_sum_to_one_and_vanish_in_the_padding():
    weights = AttentionPool().weights(FRAMES[None], torch.tensor([[[True, True, False]]]))
    assert weights.sum().item() == pytest.approx(1)
    assert weights[0, 0, 2] == 0


def test_attention_has_a_gradient_in_every_parameter():
    torch.manual_seed(0)
    net = AttentionPool()
    net(random_clips(5, 7)).sum().backward()
    assert all((parameter.grad != 0).any() for parameter in net.parameters())


def test_a_single_frame_decides_alone(net: Aggregator):
    clips = random_clips(20, 1)
    assert torch.equal(net.decide(clips).argmax(dim=1), clips[:, :, 0].argmax(dim=1))


def test_ten_thousand_frames_stay_finite_with_their_gradients(net: Aggregator):
    levels = torch.tensor([0.0, 1e-9, 0.2, 0.5, 0.9, 1.0])[:, None, None].expand(-1, 4, 10_000)
    clips = torch.cat([random_clips(2, 10_000).float(), levels]).requires_grad_()
    decided = net.decide(clips)
    (net(clips) + decided).sum().backward()
    gradients = [clips.grad, *(p.grad for p in net.parameters() if p.grad is not None)]
    assert all(torch.isfinite(values).all() for values in (decided, *gradients))


@pytest.mark.parametrize("padding", [math.nan, math.inf, -3.0, 1.0])
def test_padding_has_no_influence_and_no_gradient(net: Aggregator, padding: float):
    clips, lengths = random_clips(3, 8), torch.tensor([8, 5, 1])
    single = [clip[:, :length].clone() for clip, length in zip(clips, lengths, strict=True)]
    is_padding = (torch.arange(8) >= lengths[:, None])[:, None].expand_as(clips)
    clips = clips.masked_fill(is_padding, padding).requires_grad_()
    for score in (net, net.decide):
        expected = torch.stack([score(clip) for clip in single])
        torch.testing.assert_close(score(clips, lengths), expected, rtol=1e-12, atol=1e-14)
    net(clips, lengths).sum().backward()
    assert (clips.grad[is_padding] == 0).all()


def test_the_order_of_frames_has_no_influence(net: Aggregator):
    clips = random_clips(3, 12)
    torch.testing.assert_close(net(clips), net(clips.flip(-1)), rtol=1e-12, atol=1e-14)


def test_float32_gives_float64(net: Aggregator):
    frames = random_clips(1, 6)[0].float()
    assert net(frames).dtype == torch.float64
    assert net(frames).shape == (4,)
    assert torch.equal(net(frames), net(frames.double()))
    assert all(p.dtype == torch.float64 for p in net.parameters())


def test_an_empty_batch_has_no_scores(net: Aggregator):
    assert net(torch.zeros(0, 4, 5)).shape == (0, 4)


def test_rounding_errors_are_clamped(net: Aggregator):
    clips = random_clips(1, 3)
    clips[0, 0], clips[0, 1] = 1 + 1e-7, -1e-7
    assert torch.isfinite(net(clips)).all()
    assert torch.equal(net(clips), net(clips.clamp(0, 1)))


@pytest.mark.parametrize("value", [math.nan, -0.01, 1.01, math.inf])
def test_an_invalid_probability_is_refused_with_its_position(net: Aggregator, value: float):
    clips = random_clips(3, 5)
    clips[1, 2, 4] = value
    for score in (net, net.decide):
        with pytest.raises(InputError, match=f"clip 1, score 2, frame 4: probability {value:g}"):
            score(clips)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        *(
            ((2, 4, 5), [5, length], f"clip 1 has {length} frames in a batch of 5")
            for length in (0, -1, 6)
        ),
        ((4, 0), None, "clip 0 has no frames"),
        ((2, 4, 5), [5], "one whole number for each of the 2 clips"),
        ((2, 4, 5), [5.0, 5.0], "one whole number for each of the 2 clips"),
        *(
            (shape, None, r"give \(4, frames\) or \(clips, 4, frames\)")
            for shape in ((3, 5), (2, 5, 4), (1, 2, 4, 5), (4,))
        ),
    ],
)
def test_shapes_and_lengths_that_do_not_fit_are_refused(unchecked, net, shape, lengths, message):
    with pytest.raises(InputError, match=message):
        net(torch.zeros(shape), None if lengths is None else torch.tensor(lengths))


def test_an_aggregator_of_nothing_is_refused():
    with pytest.raises(InputError, match="0 scores"):
        MeanLogit(0)
    with pytest.raises(InputError, match="0 hidden units"):
        AttentionPool(num_hidden=0)
