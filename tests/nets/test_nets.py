"""The contract that every network of pictures in `lus_ray.nets` keeps, at sizes quick to run.

Those of aggregators and of segmenters are in `test_pooling.py` and `test_segmenters.py`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lus_ray import nets
from lus_ray.nets.crops import CropNet
from lus_ray.nets.stn import Localiser
from tests.nets.test_pooling import AGGREGATORS
from tests.nets.test_segmenters import SEGMENTERS

NUM_OUTPUTS = 5

SIZE = (40, 56)

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


@pytest.fixture(params=sorted(TINY))
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return TINY[request.param]()


@pytest.fixture
def frames() -> Tensor:
    """Three frames or, for a network of images, three colours: (B, 3, H, W) in [0, 1]."""
    return torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(0))


def test_logits_and_features_have_the_promised_sizes(net: nn.Module, frames: Tensor):
    assert net(frames).shape == (4, NUM_OUTPUTS)
    assert net.features(frames).shape == (4, net.num_features)


def test_the_head_of_the_features_is_the_output(net: nn.Module, frames: Tensor):
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net.head(net.features(frames)), net(frames))


def test_the_head_is_where_its_name_says(net: nn.Module):
    assert net.get_parameter(f"{net.head_name}.weight").shape == (NUM_OUTPUTS, net.num_features)


def test_gradients_are_finite_and_reach_every_parameter(net: nn.Module, frames: Tensor):
    for name, parameter in net.named_parameters():
        if name.endswith("norm_c.weight"):  # begins at 0 and would hide its own branch
            nn.init.ones_(parameter)
        if ".heads." in name and name.endswith("weight"):  # the same, of a whole trunk
            nn.init.normal_(parameter, std=0.01)
    loss = nn.functional.cross_entropy(net(frames), torch.arange(4))
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", ["RegSTN", "STN"])
def test_the_trunk_that_places_crops_learns_from_the_second_step_on(name: str, frames: Tensor):
    net = TINY[name]()
    localiser = net.get_submodule("localiser")
    assert isinstance(localiser, Localiser)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    reached = []
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(frames), torch.arange(4)).backward()
        assert all(p.grad is not None for p in localiser.trunk.parameters())
        reached.append(max(float(p.grad.abs().max()) for p in localiser.trunk.parameters()))  # type: ignore[union-attr]
        optimizer.step()
    assert reached[0] == 0
    assert reached[1] > 0


def test_the_second_translation_of_a_reg_stn_learns_nothing_unless_it_is_its_own(frames: Tensor):
    for own in (False, True):
        net = nets.RegSTN(NUM_OUTPUTS, width=8, size=SIZE, own_translation=own)
        net.branches(frames).logits.square().sum().backward()
        gradient = net.get_parameter("localiser.heads.translation.bias").grad
        assert gradient is not None
        assert (gradient[:2] != 0).all()
        assert (gradient[2:] != 0).all() == own
        assert (gradient[2:] == 0).all() != own


def test_five_steps_on_one_batch_lower_the_loss(net: nn.Module, frames: Tensor):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        torch.manual_seed(0)  # dropout and random crops: the same chance in every step
        loss = nn.functional.cross_entropy(net(frames), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weights_survive_safetensors(net: nn.Module, frames: Tensor, tmp_path: Path):
    net(frames)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = TINY[_name(net)]()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(frames), net.eval()(frames))


def test_evaluation_is_deterministic(net: nn.Module, frames: Tensor):
    net.eval()
    with torch.no_grad():
        assert torch.equal(net(frames), net(frames))


def test_evaluation_does_not_depend_on_batch_mates(net: nn.Module, frames: Tensor):
    net.eval()
    with torch.no_grad():
        alone = torch.cat([net(frames[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(net(frames), alone, atol=1e-5, rtol=1e-4)


def test_input_is_left_as_it_was(net: nn.Module, frames: Tensor):
    kept = frames.clone()
    net(frames)
    assert torch.equal(frames, kept)


def test_channels_last_weights_give_the_same_logits(net: nn.Module, frames: Tensor):
    layout = torch.channels_last_3d if isinstance(net, nets.I3D) else torch.channels_last
    net.eval()
    with torch.no_grad():
        expected = net(frames)
        other = net.to(memory_format=layout)(frames)
    torch.testing.assert_close(other, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_close(net: nn.Module, frames: Tensor):
    net.eval()
    with torch.no_grad():
        expected = net.features(frames)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net.features(frames).float()
    assert (mixed - expected).norm() < 0.05 * expected.norm()


def _name(net: nn.Module) -> str:
    if isinstance(net, nets.TSM | nets.I3D | nets.FrameCNN | nets.ReverseTransfer | CropNet):
        return type(net).__name__
    return "resnet50" if "layer1.0.conv3.weight" in net.state_dict() else "resnet18"
