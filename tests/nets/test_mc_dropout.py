"""Monte Carlo dropout: the same numbers as whole passes, for less."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lus_ray import nets
from lus_ray.errors import InputError
from lus_ray.nets.mc_dropout import mc_dropout, sample_seeds
from lus_ray.nets.segmenter import Segmenter, Size
from tests.nets.conftest import SIZE
from tests.nets.test_segmenters import SEGMENTERS


@pytest.fixture(params=sorted(set(SEGMENTERS) - {"PositionPrior"}))
def net(request: pytest.FixtureRequest) -> Segmenter:
    """A network in evaluation, with running statistics of a batch."""
    torch.manual_seed(0)
    net = SEGMENTERS[request.param]()
    net(torch.rand(2, 3, *SIZE))
    return net.eval()


def test_samples_are_whole_passes_bit_for_bit(net: Segmenter, images: Tensor):
    mean, std = mc_dropout(net, images, num_samples=4, generator_seed=7)
    for module in net.modules():
        module.training = isinstance(module, nn.Dropout)
    samples = []
    running = squares = torch.zeros(())
    for number, seed in enumerate(sample_seeds(7, 4), start=1):
        torch.manual_seed(seed)
        with torch.no_grad():
            samples.append(net(images).softmax(dim=1))
        off = samples[-1] - running
        running = running + off / number
        squares = squares + off * (samples[-1] - running)
    assert torch.equal(mean, running)
    assert torch.equal(std, (squares / 4).sqrt())
    maps = torch.stack(samples).double().numpy()
    np.testing.assert_allclose(mean, maps.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, maps.std(0), atol=1e-6)
    torch.testing.assert_close(mean.sum(1), torch.ones(3, *SIZE))
    assert std.max() > 0


def test_modes_buffers_and_random_state_are_as_before(net: Segmenter, images: Tensor):
    net.train()
    net.get_submodule(net.head_name).eval()
    modes = [module.training for module in net.modules()]
    state = deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    mc_dropout(net, images, num_samples=2, generator_seed=7)
    assert [module.training for module in net.modules()] == modes
    torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_batch_statistics_put_batch_norms_into_training_mode_as_well(
    net: Segmenter, images: Tensor
):
    state = deepcopy(net.state_dict())
    options = {"num_samples": 2, "generator_seed": 7}
    mean, std = mc_dropout(net, images, **options, batch_statistics=True)
    torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    whole = deepcopy(net)
    for module in whole.modules():
        module.training = isinstance(module, nn.Dropout | nn.BatchNorm2d)
    samples = []
    for seed in sample_seeds(7, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            samples.append(whole(images).softmax(dim=1))
    torch.testing.assert_close(mean, torch.stack(samples).mean(0))
    torch.testing.assert_close(std, torch.stack(samples).std(0, correction=0))
    has_norms = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert torch.equal(mean, mc_dropout(net, images, **options)[0]) != has_norms
    alone, _ = mc_dropout(net, images[:1], **options, batch_statistics=True)
    assert alone.isfinite().all()


def test_modes_and_random_state_are_restored_after_an_error():
    net, random_state = nets.MarkerUNet(width=4), torch.get_rng_state()
    with pytest.raises(InputError, match="multiples of 20"):
        mc_dropout(net, torch.zeros(1, 3, 30, 40), generator_seed=7)
    assert all(module.training for module in net.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_samples_depend_on_the_seed_alone(images: Tensor):
    net = SEGMENTERS["MarkerUNet"]()
    stds = [mc_dropout(net, images, num_samples=2, generator_seed=seed)[1] for seed in (1, 1, 2)]
    assert torch.equal(stds[0], stds[1])
    assert not torch.equal(stds[0], stds[2])
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


def test_a_network_without_dropout_and_zero_samples_are_refused(images: Tensor):
    with pytest.raises(InputError, match="UNet has no dropout; build it with some"):
        mc_dropout(nets.UNet(2, widths=(4, 8)), torch.zeros(1, 1, 4, 4), generator_seed=0)
    with pytest.raises(InputError, match="0 samples; give 1 or more"):
        mc_dropout(SEGMENTERS["UNet"](), images, num_samples=0, generator_seed=0)
