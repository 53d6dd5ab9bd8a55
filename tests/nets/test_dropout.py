"""Dropout from a quarter of the draws: the same chances, scale and gradient as torch's."""

import pytest
import torch

from lus_ray.nets.dropout import CHUNK, LEVELS, Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_the_chance_is_p_and_the_mean_stays(p: float):
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(1_000_000))
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert out[out != 0].unique().item() == pytest.approx(1 / (1 - p), rel=1e-4)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8])
def test_neighbours_are_dropped_independently(lag: int):
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).float()
    both = (dropped[:-lag] * dropped[lag:]).mean()
    assert both.item() == pytest.approx(0.25, abs=0.003)


def test_each_place_of_a_draw_has_the_same_chance():
    torch.manual_seed(0)
    dropped = (Dropout(0.2)(torch.ones(400_000)) == 0).float().reshape(-1, 4).mean(dim=0)
    torch.testing.assert_close(dropped, torch.full((4,), 0.2), atol=0.005, rtol=0)


def test_the_gradient_flows_where_the_input_did():
    x = torch.ones(10, 10, requires_grad=True)
    out = Dropout(0.5)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out.detach())


def test_a_seed_decides_and_evaluation_changes_nothing():
    layer, x = Dropout(0.5), torch.rand(7, 3)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3, 5, 7)])
def test_odd_numbers_of_elements_are_whole(shape: tuple[int, ...]):
    out = Dropout(0.5)(torch.ones(shape))
    assert out.shape == shape
    assert ((out == 0) | (out == 2)).all()


def test_chunks_are_dropped_as_from_one_draw():
    x = torch.rand(2 * CHUNK + 5)
    torch.manual_seed(3)
    draws = torch.empty(CHUNK // 2 + 2, dtype=torch.int64).random_(-(1 << 63), None)
    kept = draws.view(torch.int16)[: len(x)] >= LEVELS // 4 - LEVELS // 2
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.25)(x), x * (kept / 0.75))


@pytest.mark.parametrize("learns", [False, True])
def test_in_place_it_drops_the_same_and_takes_no_memory(learns: bool):
    start = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    start.requires_grad_(learns)
    torch.manual_seed(3)
    expected = Dropout(0.5)(start)
    x = start * 1
    torch.manual_seed(3)
    out = Dropout(0.5, inplace=True)(x)
    assert torch.equal(out, expected)
    assert out.data_ptr() == x.data_ptr()


def test_with_and_without_a_gradient_the_same_is_dropped():
    layer, x = Dropout(0.5), torch.rand(50, requires_grad=True)
    torch.manual_seed(3)
    with_gradient = layer(x)
    torch.manual_seed(3)
    with torch.no_grad():
        assert torch.equal(layer(x), with_gradient)


def test_in_place_leaves_what_lies_between_the_elements():
    whole = torch.ones(4, 6)
    Dropout(0.5, inplace=True)(whole[:, ::2])
    assert torch.equal(whole[:, 1::2], torch.ones(4, 3))


def test_channels_last_stays_channels_last():
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    out = Dropout(0.5)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert ((out == 0) | torch.isclose(out, 2 * x)).all()


def test_a_cut_out_piece_is_not_written_to():
    whole = torch.ones(4, 6)
    out = Dropout(0.5)(whole[:, ::2])
    assert out.shape == (4, 3)
    assert torch.equal(whole, torch.ones(4, 6))


def test_nothing_and_everything_can_be_dropped():
    x = torch.ones(5)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(5))
