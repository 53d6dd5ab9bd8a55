"""Monte Carlo dropout: the same numbers as whole passes, for less."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lus_ray import nets
from lus_ray.errors import InputError
from lus_ray.nets.mc_dropout import mc_dropout, sample_seeds
from lus_ray.nets.segmenter import Segmenter, Size
from tests.nets.test_segmenters import SEGMENTERS, SIZE

WITHOUT_DROPOUT = {"PositionPrior"}


@pytest.fixture(params=sorted(set(SEGMENTERS) - WITHOUT_DROPOUT))
def net(request: pytest.FixtureRequest) -> Segmenter:
    """A network that has seen a batch, in evaluation."""
    torch.manual_seed(0)
    net = SEGMENTERS[request.param]()
    net(torch.rand(2, 3, *SIZE))
    return net.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def whole_passes(net: Segmenter, images: Tensor, seeds: list[int]) -> list[Tensor]:
    """The baseline: one pass of the whole network for each sample."""
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    passes = []
    for seed in seeds:
        torch.manual_seed(seed)
        with torch.no_grad():
            passes.append(net(images).softmax(dim=1))
    net.eval()
    return passes


def test_samples_are_whole_passes_bit_for_bit(net: Segmenter, images: Tensor):
    mean, std = mc_dropout(net, images, num_samples=8, generator_seed=7)
    running = squares = torch.zeros(())
    for number, sample in enumerate(whole_passes(net, images, sample_seeds(7, 8)), start=1):
        off = sample - running
        running = running + off / number
        squares = squares + off * (sample - running)
    assert torch.equal(mean, running)
    assert torch.equal(std, (squares / 8).sqrt())


def test_mean_and_deviation_are_those_of_all_maps(net: Segmenter, images: Tensor):
    mean, std = mc_dropout(net, images, num_samples=8, generator_seed=7)
    maps = torch.stack(whole_passes(net, images, sample_seeds(7, 8))).double().numpy()
    np.testing.assert_allclose(mean, maps.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, maps.std(0), atol=1e-6)
    torch.testing.assert_close(mean.sum(1), torch.ones(2, *SIZE))
    assert std.max() > 0


def test_modes_buffers_and_chance_are_as_before(net: Segmenter, images: Tensor):
    net.train()
    net.get_submodule(net.head_name).eval()
    modes = [module.training for module in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    chance = torch.get_rng_state()
    mc_dropout(net, images, num_samples=2, generator_seed=7)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)


def test_modes_and_chance_come_back_after_a_failure():
    net = nets.MarkerUNet(width=4)
    chance = torch.get_rng_state()
    with pytest.raises(InputError, match="multiples of 20"):
        mc_dropout(net, torch.zeros(1, 3, 30, 40), generator_seed=7)
    assert all(module.training for module in net.modules())
    assert torch.equal(torch.get_rng_state(), chance)


def test_the_seed_decides(images: Tensor):
    net = SEGMENTERS["MarkerUNet"]()
    first = mc_dropout(net, images, num_samples=2, generator_seed=1)
    again = mc_dropout(net, images, num_samples=2, generator_seed=1)
    other = mc_dropout(net, images, num_samples=2, generator_seed=2)
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_more_samples_begin_with_the_same_ones():
    assert sample_seeds(3, 40)[:5] == sample_seeds(3, 5)
    assert len(set(sample_seeds(3, 40))) == 40


class Coin(Segmenter):
    """Every pixel of two classes: its value, dropped half of the time, against 0."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.num_outputs = num_outputs
        self.passes = 0

    def stem(self, images: Tensor) -> tuple[Tensor, ...]:
        self.passes += 1
        return (images,)

    def rest(self, stem: tuple[Tensor, ...], size: Size) -> Tensor:
        logits = self.dropout(stem[0])
        return torch.cat([logits, torch.zeros_like(logits)], 1)[:, : self.num_outputs]


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_a_fair_coin_has_the_deviation_of_a_fair_coin(num_outputs: int):
    net = Coin(num_outputs)
    value = torch.full((1, 1, 40, 40), math.log(3) / 2)  # doubled where it is kept: 3 to 1
    mean, std = mc_dropout(net, value, num_samples=100, generator_seed=0)
    assert net.passes == 1
    assert mean[:, 0].mean() == pytest.approx((0.75 + 0.5) / 2, abs=0.002)
    assert std[:, 0].mean() == pytest.approx((0.75 - 0.5) / 2, abs=0.002)


def test_where_dropout_changes_nothing_the_deviation_is_exactly_zero():
    _, std = mc_dropout(Coin(2), torch.zeros(1, 1, 4, 4), generator_seed=0)
    assert torch.equal(std, torch.zeros(1, 2, 4, 4))


def test_a_network_without_dropout_is_refused():
    with pytest.raises(InputError, match="UNet has no dropout; build it with some"):
        mc_dropout(nets.UNet(2, widths=(4, 8)), torch.zeros(1, 1, 4, 4), generator_seed=0)


def test_no_sample_is_refused(images: Tensor):
    with pytest.raises(InputError, match="0 samples; give 1 or more"):
        mc_dropout(SEGMENTERS["UNet"](), images, num_samples=0, generator_seed=0)
