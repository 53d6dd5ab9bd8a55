"""The contract of every network of images and every segmenter, at small sizes.

That of aggregators is in `test_pooling.py`, what segmenters add in `test_segmenters.py`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lus_ray import nets
from lus_ray.nets.segmenter import Segmenter
from lus_ray.nets.stn import Localiser
from tests.nets.test_pooling import AGGREGATORS
from tests.nets.test_segmenters import SEGMENTERS

NUM_OUTPUTS = 5
SIZE = (40, 80)

TINY: dict[str, Callable[[], nn.Module]] = {
    "FrameCNN": lambda: nets.FrameCNN(NUM_OUTPUTS, width=8),
    "RandomCrops": lambda: nets.RandomCrops(NUM_OUTPUTS, width=8, size=SIZE),
    "RegSTN": lambda: nets.RegSTN(NUM_OUTPUTS, width=8, size=SIZE),
    "STN": lambda: nets.STN(NUM_OUTPUTS, width=8, size=SIZE),
    "I3D": lambda: nets.I3D(NUM_OUTPUTS, width=4, layers=(1, 2, 1, 2)),
    "ReverseTransfer": lambda: nets.ReverseTransfer(NUM_OUTPUTS, num_channels=3, widths=(4, 8)),
    "TSM": lambda: nets.TSM(NUM_OUTPUTS, width=8, num_frames=3),
    "resnet18": lambda: nets.resnet18(NUM_OUTPUTS, width=8),
    "resnet50": lambda: nets.resnet50(NUM_OUTPUTS, width=4),
}


def test_every_network_is_tested_here_or_with_its_kind():
    assert sorted([*TINY, *AGGREGATORS, *SEGMENTERS]) == sorted(nets.__all__)


@pytest.fixture(params=sorted({**TINY, **SEGMENTERS}))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return (TINY | SEGMENTERS)[name]()


@pytest.fixture
def images() -> Tensor:
    """Three frames or, for a network of images, three colours: (4, 3, H, W) in [0, 1]."""
    return torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target(name: str) -> Tensor:
    """A class per image, or five vertical stripes."""
    stripes = torch.arange(SIZE[1]) * NUM_OUTPUTS // SIZE[1]
    return stripes.expand(4, *SIZE) if name in SEGMENTERS else torch.arange(4)


def test_outputs_have_the_promised_sizes_and_the_head_its_name(net: nn.Module, images: Tensor):
    head = net.get_parameter(f"{net.head_name}.weight")
    if isinstance(net, Segmenter):
        assert net(images).shape == (4, NUM_OUTPUTS, *SIZE)
        assert head.shape[0] == NUM_OUTPUTS
        assert [name for name, _ in net.named_children()][-1] == net.head_name
        return
    assert net(images).shape == (4, NUM_OUTPUTS)
    assert net.features(images).shape == (4, net.num_features)
    assert head.shape == (NUM_OUTPUTS, net.num_features)


@pytest.mark.parametrize("name", TINY)
def test_the_head_of_the_features_is_the_output(net: nn.Module, images: Tensor):
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net.head(net.features(images)), net(images))


def test_gradients_are_finite_and_reach_every_parameter(
    net: nn.Module, images: Tensor, target: Tensor
):
    for name, parameter in net.named_parameters():
        if name.endswith("norm_c.weight"):  # begins at 0 and would hide its own branch
            nn.init.ones_(parameter)
        if ".heads." in name and name.endswith("weight"):  # the same, of a whole trunk
            nn.init.normal_(parameter, std=0.01)
    loss = cross_entropy(net(images), target)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_five_steps_on_one_batch_lower_the_loss(net: nn.Module, images: Tensor, target: Tensor):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        torch.manual_seed(0)  # the same dropout and random crops in every step
        loss = cross_entropy(net(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weights_survive_safetensors(name: str, net: nn.Module, images: Tensor, tmp_path: Path):
    net(images)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = (TINY | SEGMENTERS)[name]()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), net.eval()(images))


def test_evaluation_is_deterministic_whatever_the_batch_and_the_memory_format(
    net: nn.Module, images: Tensor
):
    net.eval()
    kept = images.clone()
    layout = torch.channels_last_3d if isinstance(net, nets.I3D) else torch.channels_last
    with torch.no_grad():
        expected = net(images)
        assert torch.equal(net(images), expected)
        alone = torch.cat([net(images[i : i + 1]) for i in range(4)])
        other = net.to(memory_format=layout)(images)
    assert torch.equal(images, kept)
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_close(net: nn.Module, images: Tensor):
    if isinstance(net, Segmenter):
        net(images)  # running statistics that differ from the initial ones
    net.eval()
    outputs = net if isinstance(net, Segmenter) else net.features
    with torch.no_grad():
        expected = outputs(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = outputs(images).float()
    assert (mixed - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("name", ["RegSTN", "STN"])
def test_the_trunk_that_places_crops_learns_from_the_second_step_on(name: str, images: Tensor):
    net = TINY[name]()
    localiser = net.get_submodule("localiser")
    assert isinstance(localiser, Localiser)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    reached = []
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(net(images), torch.arange(4)).backward()
        assert all(p.grad is not None for p in localiser.trunk.parameters())
        reached.append(max(float(p.grad.abs().max()) for p in localiser.trunk.parameters()))  # type: ignore[union-attr]
        optimizer.step()
    assert reached[0] == 0
    assert reached[1] > 0


def test_the_second_translation_of_a_reg_stn_learns_nothing_unless_it_is_its_own(images: Tensor):
    for own in (False, True):
        net = nets.RegSTN(NUM_OUTPUTS, width=8, size=SIZE, own_translation=own)
        net.branches(images).logits.square().sum().backward()
        gradient = net.get_parameter("localiser.heads.translation.bias").grad
        assert gradient is not None
        assert (gradient[:2] != 0).all()
        assert (gradient[2:] != 0).all() == own
        assert (gradient[2:] == 0).all() != own
