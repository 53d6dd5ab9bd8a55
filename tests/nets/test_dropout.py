"""Dropout from a quarter of the draws: the same probabilities, scale and gradient as torch's."""

import pytest
import torch

from lus_ray.nets.dropout import CHUNK, LEVELS, Dropout


def drop(x: torch.Tensor, p: float = 0.5, *, inplace: bool = False) -> torch.Tensor:
    """With the same seed each time."""
    torch.manual_seed(3)
    return Dropout(p, inplace=inplace)(x)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p: float):
    out = drop(torch.ones(1_000_000), p)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert out[out != 0].unique().item() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_neighbours_are_dropped_independently():
    dropped = (drop(torch.ones(400_000)) == 0).float()
    for lag in (1, 2, 3, 4, 8):
        both = (dropped[:-lag] * dropped[lag:]).mean()
        assert both.item() == pytest.approx(0.25, abs=0.003), lag
    by_position = dropped.reshape(-1, 4).mean(dim=0)
    torch.testing.assert_close(by_position, torch.full((4,), 0.5), atol=0.005, rtol=0)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3, 5, 7)])
def test_any_number_of_elements_is_dropped_or_doubled(shape: tuple[int, ...]):
    out = drop(torch.ones(shape))
    assert out.shape == shape
    assert ((out == 0) | (out == 2)).all()


def test_chunks_are_dropped_as_from_a_single_draw():
    x = torch.rand(2 * CHUNK + 5)
    torch.manual_seed(3)
    draws = torch.empty(CHUNK // 2 + 2, dtype=torch.int64).random_(-(1 << 63), None)
    kept = draws.view(torch.int16)[: len(x)] >= LEVELS // 4 - LEVELS // 2
    assert torch.equal(drop(x, 0.25), x * (kept / 0.75))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_in_place_it_drops_the_same_and_takes_no_memory(requires_grad: bool):
    start = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    start.requires_grad_(requires_grad)
    expected, x = drop(start), start * 1
    out = drop(x, inplace=True)
    assert torch.equal(out, expected)
    assert out.data_ptr() == x.data_ptr()
    assert expected.is_contiguous(memory_format=torch.channels_last)
    assert ((expected == 0) | torch.isclose(expected, 2 * start)).all()


def test_a_gradient_changes_nothing_and_flows_where_the_input_did():
    x = torch.ones(50, requires_grad=True)
    out = drop(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out.detach())
    with torch.no_grad():
        assert torch.equal(drop(x), out)


def test_only_elements_of_a_view_are_dropped_and_only_in_place():
    whole = torch.ones(4, 6)
    assert drop(whole[:, ::2]).shape == (4, 3)
    assert torch.equal(whole, torch.ones(4, 6))
    drop(whole[:, ::2], inplace=True)
    assert torch.equal(whole[:, 1::2], torch.ones(4, 3))


def test_evaluation_and_the_limits_of_p():
    x = torch.rand(7, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(drop(x, 0.0), x)
    assert torch.equal(drop(x, 1.0), torch.zeros(7, 3))
