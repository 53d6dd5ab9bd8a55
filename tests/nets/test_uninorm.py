"""Uninorms against golden vectors, pairwise reductions and exact arithmetic."""

import itertools
import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lus_ray.errors import InputError
from lus_ray.nets.uninorm import Uninorm
from tests.conftest import SHARED

VARIANTS = list(itertools.product(("product", "lukasiewicz"), ("min", "max")))
all_variants = pytest.mark.parametrize(("t_norm", "off_diagonal"), VARIANTS)
share = st.floats(0.001, 0.999)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 16, 33])
def test_values_and_gradients_are_the_golden_ones(num_frames: int):
    path = SHARED / "golden" / "uninorm_product_min.npz"
    if not path.is_file():
        pytest.skip("no ../shared/golden beside the checkout")
    golden = np.load(path, allow_pickle=False)
    net = Uninorm(initial=golden[f"neutral_{num_frames}"].tolist())
    aggregated = net(torch.from_numpy(golden[f"frame_scores_{num_frames}"]))
    aggregated.sum().backward()
    np.testing.assert_allclose(
        aggregated.detach(), golden[f"aggregated_{num_frames}"], rtol=0, atol=1e-6
    )
    # The golden gradient of a single frame is undefined; that of the closed form is zero.
    expected = np.nan_to_num(golden[f"grad_neutral_{num_frames}"], nan=0.0)
    np.testing.assert_allclose(net.neutral.grad, expected, rtol=0, atol=1e-6)


@all_variants
@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 30])
def test_the_closed_form_is_the_pairwise_reduction_and_e_is_neutral(
    t_norm: str, off_diagonal: str, num_frames: int
):
    rng = np.random.default_rng(num_frames)
    frames = rng.uniform(0.01, 0.99, (50, 4, num_frames))
    neutral = [0.02, *rng.uniform(0.1, 0.9, 2), 0.98]
    kind, net = (t_norm, off_diagonal), uninorm(neutral, t_norm, off_diagonal)
    closed = net(torch.from_numpy(frames)).detach().numpy()
    longer = np.concatenate([frames, np.tile(np.array(neutral)[:, None], (50, 1, 9))], axis=2)
    assert net(torch.from_numpy(longer)).detach().numpy() == pytest.approx(closed, abs=1e-12)
    for row, score in np.ndindex(50, 4):
        values, e = frames[row, score].tolist(), neutral[score]
        expected = reduce(lambda x, y: pair(x, y, e, *kind), values)
        assert closed[row, score] == pytest.approx(expected, abs=1e-12)


@all_variants
@settings(deadline=None, max_examples=20)
@given(frames=st.lists(share, min_size=1, max_size=8), raised=share, e=share, data=st.data())
def test_a_higher_frame_never_lowers_the_clip(t_norm, off_diagonal, frames, raised, e, data):
    frame = data.draw(st.integers(0, len(frames) - 1))
    higher = list(frames)
    higher[frame] = max(raised, frames[frame])
    net = uninorm([e], t_norm, off_diagonal)
    for score in (net, net.decide):
        before, after = score(clip(frames)).item(), score(clip(higher)).item()
        assert after >= before - 1e-12 * max(1.0, abs(before))


@all_variants
def test_gradients_are_those_of_finite_differences(t_norm, off_diagonal):
    # e lies away from every frame score, where U jumps, and Łukasiewicz from its clipping.
    rows = [[0.9, 0.8, 0.85], [0.6, 0.75, 0.8], [0.2, 0.3, 0.1]]
    rows += [[0.3, 0.35, 0.25], [0.2, 0.3, 0.25]]
    frames = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    net = uninorm([0.87, 0.7, 0.18, 0.4, 0.1], t_norm, off_diagonal)

    def aggregated(neutral: Tensor, frames: Tensor) -> Tensor:
        return torch.func.functional_call(net, {"neutral": neutral}, (frames,))

    assert torch.autograd.gradcheck(aggregated, (net.neutral, frames))
    # d logit U = dU / (U (1 - U))
    clip_scores = net(frames)
    by_chain_rule = (clip_scores / (clip_scores * (1 - clip_scores)).detach()).sum()
    expected = torch.autograd.grad(by_chain_rule, (net.neutral, frames))
    gradients = torch.autograd.grad(net.decide(frames).sum(), (net.neutral, frames))
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-12)


def test_a_neutral_element_of_zero_is_a_noisy_or_and_of_one_a_product():
    frames = clip([0.5, 0.5, 0.2])
    assert Uninorm(1, initial=0.0)(frames).item() == pytest.approx(1 - 0.5 * 0.5 * 0.8)
    assert Uninorm(1, initial=1.0)(frames).item() == pytest.approx(0.5 * 0.5 * 0.2)


def test_neutral_elements_and_probabilities_of_exactly_zero_keep_their_gradient():
    net, frames = Uninorm(1, initial=0.0), clip([0.0, 0.5]).requires_grad_()
    net(frames).sum().backward()
    assert frames.grad[0].tolist() == pytest.approx([0.5, 1.0])
    assert net.neutral.grad.item() == pytest.approx(-0.5)  # -(n - 1)(1 - U)


def test_lukasiewicz_is_a_clipped_sum_that_also_ranks_clipped_clips():
    net = uninorm([0.5, 0.5], "lukasiewicz", "min")
    frames = torch.tensor([[0.25, 0.375, 0.75], [0.625, 0.75, 0.5]], dtype=torch.float64)
    assert net(frames).tolist() == [0.125, 0.875]
    net = uninorm([0.5] * 4, "lukasiewicz", "min")
    frames = torch.tensor([[0.1], [0.2], [0.8], [0.9]], dtype=torch.float64).expand(4, 100)
    assert net(frames).tolist() == [0, 0, 1, 1]
    assert (net.decide(frames).diff() > 0).all()


@pytest.mark.parametrize("level", [0.2, 0.6])
def test_clips_whose_float32_scores_tie_are_ranked_as_in_exact_arithmetic(level: float):
    rng = np.random.default_rng(0)
    sequences = rng.uniform(level, level + 0.2, (12, 400)).astype(np.float32)
    neutral = Fraction(1, 2)
    exact = [exact_product_min([Fraction(float(x)) for x in row], neutral) for row in sequences]
    net = Uninorm(12, initial=0.5)
    frames = torch.from_numpy(sequences)
    assert len(set(net(frames).float().tolist())) == 1
    ranks = net.decide(frames).argsort().tolist()
    assert ranks == sorted(range(12), key=exact.__getitem__)


def test_the_decision_is_the_logit_of_a_clip_or_a_batch():
    frames = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    net = Uninorm(initial=0.3)
    torch.testing.assert_close(net.decide(frames), torch.logit(net(frames)))
    assert torch.equal(net(frames), net(frames[None])[0])


def test_constrain_clamps_in_place():
    net = Uninorm(3, initial=0.5)
    neutral = net.neutral
    neutral.data = torch.tensor([-0.25, 0.5, 1.25], dtype=torch.float64)
    net.constrain()
    assert net.neutral is neutral
    assert neutral.tolist() == [0, 0.5, 1]
    assert neutral.requires_grad


OUTSIDE = r"neutral element of score \d is .*, outside \[0, 1\]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({"initial": e}, OUTSIDE) for e in (-0.01, 1.01, math.nan, [0.5, 0.5, 0.5, 2.0])),
        ({"initial": [0.1, 0.2, 0.3]}, "3 initial neutral elements for 4 scores"),
        ({"t_norm": "goedel"}, "use product or lukasiewicz, with min or max"),
        ({"off_diagonal": "mean"}, "use product or lukasiewicz, with min or max"),
    ],
)
def test_invalid_settings_are_refused(unchecked, settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        Uninorm(**settings)


def test_a_missing_constrain_is_reported():
    net = Uninorm(2)
    net.neutral.data[1] = -0.01
    for score in (net, net.decide):
        with pytest.raises(InputError, match=r"score 1 is -0.01, outside .* constrain"):
            score(torch.rand(2, 3))


def uninorm(neutral: list[float], t_norm: str, off_diagonal: str) -> Uninorm:
    return Uninorm(len(neutral), t_norm=t_norm, off_diagonal=off_diagonal, initial=neutral)


def clip(frames: list[float]) -> Tensor:
    return torch.tensor([frames], dtype=torch.float64)


def pair(x: float, y: float, e: float, t_norm: str, off_diagonal: str) -> float:
    """The pairwise operator of the paper, written down as it is defined."""
    if x <= e and y <= e:
        a, b = x / e, y / e
        return e * (a * b if t_norm == "product" else max(0.0, a + b - 1))
    if x >= e and y >= e:
        a, b = (x - e) / (1 - e), (y - e) / (1 - e)
        return e + (1 - e) * (a + b - a * b if t_norm == "product" else min(1.0, a + b))
    return min(x, y) if off_diagonal == "min" else max(x, y)


def exact_product_min(values: list[Fraction], e: Fraction) -> Fraction:
    """The product uninorm with min in exact arithmetic."""
    below = [x for x in values if x < e]
    if below:
        return e * math.prod(x / e for x in below)
    return 1 - (1 - e) * math.prod((1 - x) / (1 - e) for x in values)
