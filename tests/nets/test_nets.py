"""The contract of every network of images, segmenter and part of SIFA, at small sizes.

Aggregators are in `test_pooling.py`; what segmenters add is in `test_segmenters.py`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from lus_ray import nets
from lus_ray.nets.cnn import ConvTrunk
from lus_ray.nets.mobilenet import MobileNetV2
from lus_ray.nets.patch_gan import PatchDiscriminator, SifaDecoder, SifaGenerator
from lus_ray.nets.segmenter import Segmenter
from lus_ray.nets.stn import Localiser
from tests.nets.test_pooling import AGGREGATORS
from tests.nets.test_segmenters import NUM_OUTPUTS, SEGMENTERS, SIZE


class DecoderOfImages(SifaDecoder):
    """Takes the latent maps from the images, too."""

    def forward(self, images: Tensor) -> Tensor:
        latent = avg_pool2d(images.repeat(1, 3, 1, 1)[:, :8], 8)
        return super().forward(latent, images[:, :1])


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
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
PARTS: dict[str, Callable[[], nn.Module]] = {
    "SifaGenerator": lambda: SifaGenerator(width=2, num_units=2),
    "SifaDecoder": lambda: DecoderOfImages(8, width=2, num_units=2),
    "PatchDiscriminator": lambda: PatchDiscriminator(3, 2, width=2),
}
NETS = CLASSIFIERS | SEGMENTERS | PARTS


def test_every_network_is_tested():
    assert sorted([*CLASSIFIERS, *AGGREGATORS, *SEGMENTERS]) == sorted(nets.__all__)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (ConvTrunk, 731_808),
        (nets.FrameCNN, 766_372),
        (nets.resnet18, 11_689_512),
        (nets.resnet50, 25_557_032),
        (partial(nets.I3D, 400), 28_043_472),
        (partial(nets.UNet, 7), 31_036_871),
        (partial(nets.UNet, 7, batch_norm=False), 31_030_983),
        (partial(nets.UNet, 1, widths=(16, 32, 64, 128), dropout=0.5, bias=True), 483_153),
        (nets.MarkerUNet, 590_757),
        (nets.ReleasedUNetPlusPlus, 16_490_925),
        (nets.ReleasedDeepLab, 2_109_445),
        # As segmentation_models.pytorch with one output.
        (partial(nets.UNetPlusPlus, 1, encoder="resnet34"), 26_078_609),
        (partial(nets.DeepLabV3Plus, 1, encoder="resnet34"), 22_437_457),
        (MobileNetV2, 3_504_872 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000)),
        (partial(nets.SifaSegmenter, 2), 27_518_992 + 512 * 2),
        (
            partial(nets.SifaSegmenter, 2, num_channels=1, dropout=0, deep=True),
            27_517_424 + 2 * 512 * 2,
        ),
        (SifaGenerator, 2_852_673),
        (partial(SifaGenerator, 1), 2_849_537),
        (SifaDecoder, 1_902_848),
        (PatchDiscriminator, 2_763_520),
        (partial(PatchDiscriminator, num_outputs=2), 2_771_712),
        (partial(PatchDiscriminator, 2), 2_764_544),
    ],
)
def test_numbers_of_parameters_are_the_published_ones(make: Callable[[], nn.Module], count: int):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == count


@pytest.fixture(params=sorted(NETS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]()


@pytest.fixture
def images() -> Tensor:
    """Three frames or, for a network of images, three colours: (4, 3, H, W) in [0, 1]."""
    return torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def compute_loss(net: nn.Module, images: Tensor) -> Tensor:
    """Cross entropy with a class per image or five vertical stripes; squares for parts of SIFA."""
    if isinstance(net, SifaGenerator | SifaDecoder | PatchDiscriminator):
        return (net(images) - 0.5).square().mean()
    stripes = torch.arange(SIZE[1]) * NUM_OUTPUTS // SIZE[1]
    target = stripes.expand(4, *SIZE) if isinstance(net, Segmenter) else torch.arange(4)
    return cross_entropy(net(images), target)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_classifier_has_features_and_a_head(net: nn.Module, images: Tensor):
    assert net(images).shape == (4, NUM_OUTPUTS)
    weight = net.get_parameter(f"{net.head_name}.weight")
    assert weight.shape == (NUM_OUTPUTS, net.num_features)
    net.eval()
    with torch.no_grad():
        features = net.features(images)
        assert features.shape == (4, net.num_features)
        torch.testing.assert_close(net.head(features), net(images))


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_a_segmenter_has_logits_of_the_size_of_images(net: nn.Module, images: Tensor):
    assert net(images).shape == (4, NUM_OUTPUTS, *SIZE)
    assert net.get_parameter(f"{net.head_name}.weight").shape[0] == NUM_OUTPUTS
    assert [name for name, _ in net.named_children()][-1] == net.head_name


def test_gradients_are_finite_and_reach_every_weight(name: str, net: nn.Module, images: Tensor):
    for parameter_name, parameter in net.named_parameters():
        if parameter_name.endswith("norm_c.weight"):  # begins at 0 and would hide its own branch
            nn.init.ones_(parameter)
        if ".heads." in parameter_name and parameter_name.endswith("weight"):  # hides a trunk
            nn.init.normal_(parameter, std=0.01)
    loss = compute_loss(net, images)
    loss.backward()
    assert torch.isfinite(loss)
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        # In parts of SIFA a normalisation cancels the biases before it.
        has_effect = name not in PARTS or parameter_name.endswith("weight")
        assert not has_effect or parameter.grad.abs().max() > 0, parameter_name


def test_a_few_steps_on_a_batch_lower_the_loss(name: str, net: nn.Module, images: Tensor):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(10 if name in PARTS else 5):
        torch.manual_seed(0)  # the same dropout and random crops in every step
        loss = compute_loss(net, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weights_survive_safetensors(name: str, net: nn.Module, images: Tensor, tmp_path: Path):
    net(images)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    copy = NETS[name]()
    copy.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(copy.eval()(images), net.eval()(images))


def test_evaluation_depends_on_neither_batch_nor_memory_format(net: nn.Module, images: Tensor):
    net.eval()
    before = images.clone()
    layout = torch.channels_last_3d if isinstance(net, nets.I3D) else torch.channels_last
    with torch.no_grad():
        expected = net(images)
        assert torch.equal(net(images), expected)
        single = torch.cat([net(images[i : i + 1]) for i in range(4)])
        reordered = net.to(memory_format=layout)(images)
    assert torch.equal(images, before)
    torch.testing.assert_close(single, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reordered, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_close(name: str, net: nn.Module, images: Tensor):
    if name in SEGMENTERS:
        net(images)  # running statistics that differ from the initial ones
    net.eval()
    outputs = net.features if name in CLASSIFIERS else net
    with torch.no_grad():
        expected = outputs(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = outputs(images).float()
    assert (mixed - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("name", ["RegSTN", "STN"])
def test_the_trunk_of_a_localiser_trains_from_the_second_step_on(net: nn.Module, images: Tensor):
    localiser = net.get_submodule("localiser")
    assert isinstance(localiser, Localiser)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for has_gradient in (False, True):
        optimizer.zero_grad()
        compute_loss(net, images).backward()
        assert has_gradient == any((p.grad != 0).any() for p in localiser.trunk.parameters())
        optimizer.step()
