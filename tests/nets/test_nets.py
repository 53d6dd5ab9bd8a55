"""The contract of every classifier, segmenter and part of SIFA, and what they refuse."""

import math
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from lus_ray import nets
from lus_ray.errors import ArmError
from lus_ray.nets.cnn import ConvTrunk
from lus_ray.nets.encoder import ResNetEncoder
from lus_ray.nets.mobilenet import MobileNetV2
from lus_ray.nets.patch_gan import PatchDiscriminator, SifaDecoder, SifaGenerator
from lus_ray.nets.segmenter import Segmenter
from lus_ray.nets.stn import Localiser
from tests.nets.conftest import SIZE
from tests.nets.test_pooling import AGGREGATORS
from tests.nets.test_segmenters import NUM_OUTPUTS, SEGMENTERS


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
    aggregators = {name.split()[0] for name in AGGREGATORS}
    assert {*CLASSIFIERS, *aggregators, *SEGMENTERS} == set(nets.__all__)


@pytest.mark.parametrize(
    ("make", "count", "names"),
    [
        (ConvTrunk, 731_808, "4fdb20bf"),
        (nets.FrameCNN, 766_372, "6a6ef357"),
        (nets.RandomCrops, 766_372, "77f3b019"),
        (nets.STN, 1_699_114, "c63dd65d"),
        (nets.RegSTN, 1_699_246, "056f0e39"),
        (partial(nets.RegSTN, transform="fixed scale"), 1_699_048, "397a3b64"),
        (partial(nets.RegSTN, own_translation=True), 1_699_246, "056f0e39"),
        (nets.resnet18, 11_689_512, "779447cf"),
        (nets.resnet50, 25_557_032, "8f960d1d"),
        (partial(nets.I3D, 400), 28_043_472, "f9842a16"),
        (partial(nets.UNet, 7), 31_036_871, "2d1c0954"),
        (partial(nets.UNet, 7, batch_norm=False), 31_030_983, "0d1d9d77"),
        (
            partial(nets.UNet, 1, widths=(16, 32, 64, 128), dropout=0.5, bias=True),
            483_153,
            "96352428",
        ),
        (nets.MarkerUNet, 590_757, "3f02046f"),
        (nets.ReleasedUNetPlusPlus, 16_490_925, "056e8510"),
        (nets.ReleasedDeepLab, 2_109_445, "35a25f79"),
        # As segmentation_models.pytorch with one output.
        (partial(nets.UNetPlusPlus, 1, encoder="resnet34"), 26_078_609, "f018bb2e"),
        (partial(nets.DeepLabV3Plus, 1, encoder="resnet34"), 22_437_457, "02e4155d"),
        (MobileNetV2, 3_504_872 - (320 * 1280 + 2 * 1280) - (1280 * 1000 + 1000), "676df9f4"),
        (partial(nets.SifaSegmenter, 2), 27_518_992 + 512 * 2, "afd57f8f"),
        (
            partial(nets.SifaSegmenter, 2, num_channels=1, dropout=0, deep=True),
            27_517_424 + 2 * 512 * 2,
            "6a9372c2",
        ),
        (SifaGenerator, 2_852_673, "846b0763"),
        (partial(SifaGenerator, 1), 2_849_537, "846b0763"),
        (SifaDecoder, 1_902_848, "f05eb29d"),
        (PatchDiscriminator, 2_763_520, "7b6ac1a0"),
        (partial(PatchDiscriminator, num_outputs=2), 2_771_712, "7b6ac1a0"),
        (partial(PatchDiscriminator, 2), 2_764_544, "7b6ac1a0"),
    ],
)
def test_numbers_and_names_of_parameters_are_the_published_ones(
    make: Callable[[], nn.Module], count: int, names: str
):
    """`names` is a digest of the state's names in order, which published weights must have."""
    with torch.device("meta"):
        net = make()
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert sha256("\n".join(net.state_dict()).encode()).hexdigest()[:8] == names


@pytest.mark.parametrize(
    ("make", "name", "fan_out"),
    [
        (nets.resnet18, "layer3.0.conv2.weight", 256 * 9),
        (partial(nets.UNet, 2, widths=(16, 32)), "descent.1.2.0.weight", 32 * 9),
        (nets.MarkerUNet, "descent.2.2.weight", 64 * 25),
        (nets.MarkerUNet, "below.0.weight", 64 * 25),
    ],
)
def test_convolutions_begin_at_the_variance_of_he(make: Callable, name: str, fan_out: int):
    torch.manual_seed(0)
    assert make().get_parameter(name).std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


@pytest.fixture(params=sorted(NETS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]()


def compute_loss(net: nn.Module, images: Tensor) -> Tensor:
    """Cross entropy with a class per image or five vertical stripes; squares for parts of SIFA."""
    if isinstance(net, SifaGenerator | SifaDecoder | PatchDiscriminator):
        return (net(images) - 0.5).square().mean()
    stripes = torch.arange(SIZE[1]) * NUM_OUTPUTS // SIZE[1]
    target = stripes.expand(3, *SIZE) if isinstance(net, Segmenter) else torch.arange(3)
    return cross_entropy(net(images), target)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_classifier_has_features_and_a_head(net: nn.Module, images: Tensor):
    assert net(images).shape == (3, NUM_OUTPUTS)
    weight = net.get_parameter(f"{net.head_name}.weight")
    assert weight.shape == (NUM_OUTPUTS, net.num_features)
    net.eval()
    with torch.no_grad():
        features = net.features(images)
        assert features.shape == (3, net.num_features)
        torch.testing.assert_close(net.head(features), net(images))


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_a_segmenter_has_logits_of_the_size_of_images(net: nn.Module, images: Tensor):
    assert net(images).shape == (3, NUM_OUTPUTS, *SIZE)
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
        single = torch.cat([net(images[i : i + 1]) for i in range(3)])
        reordered = net.to(memory_format=layout)(images)
    assert torch.equal(images, before)
    torch.testing.assert_close(single, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reordered, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_close(name: str, net: nn.Module, images: Tensor):
    if name in SEGMENTERS:
        net(images)  # running statistics that differ from the initial ones
    net.eval()
    outputs = net.features if name in CLASSIFIERS else net
    parameters = [p for n, p in net.named_parameters() if n.endswith("weight")]

    def compute() -> tuple[Tensor, Tensor]:
        values = outputs(images).float()
        gradients = torch.autograd.grad(values.square().mean(), parameters, allow_unused=True)
        return values.detach(), torch.cat([g.flatten() for g in gradients if g is not None])

    values, gradients = compute()
    with torch.autocast("cpu", torch.bfloat16):
        mixed_values, mixed_gradients = compute()
    assert (mixed_values - values).norm() < 0.05 * values.norm()
    assert torch.cosine_similarity(mixed_gradients, gradients, dim=0) > 0.9


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


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (partial(kind, width=0), f"{kind.__name__}: width 0; give 1 or more")
            for kind in (SifaGenerator, SifaDecoder, PatchDiscriminator)
        ),
        (partial(nets.SifaSegmenter, 2, width=0), "width 0; give 1 or more"),
        (partial(nets.SifaSegmenter, 2, dropout=1.0), r"dropout 1\.0; give 0 or more, and less"),
        (partial(nets.UNet, 2, dropout=1.0), r"dropout 1\.0; give 0 or more, and less than 1"),
        (partial(nets.UNet, 2, widths=(16,)), r"widths \(16,\); give two levels or more"),
        (partial(nets.ReleasedUNetPlusPlus, width=12), "width 12; give a multiple of 8"),
        (partial(nets.UNetPlusPlus, 2, width=6), "width 6; give a multiple of 4"),
        (partial(nets.DeepLabV3Plus, 2, width=6), "width 6; give a multiple of 4"),
        (partial(nets.TSM, 2, width=4), "width 4"),
        (partial(MobileNetV2, output_stride=4), "MobileNetV2: output stride 4; give 8, 16 or 32"),
        (partial(ResNetEncoder, "vgg16"), "no encoder 'vgg16'; use one of resnet18"),
        (
            partial(ResNetEncoder, "resnet18", output_stride=4),
            "resnet18: output stride 4; give 16 or 32",
        ),
        *(
            (partial(kind, size=(64, 31)), rf"{kind.__name__}: size \(64, 31\); give 32 or more")
            for kind in (nets.STN, nets.RegSTN, nets.RandomCrops)
        ),
        (
            partial(nets.RegSTN, transform="rigid"),
            "no transform 'rigid'; use 'full' or 'fixed scale'",
        ),
        *(
            (partial(nets.RandomCrops, sides=sides), "give the small one first")
            for sides in ((0.75, 0.5), (0.0, 0.5), (0.5, 1.1), (math.nan, 0.5))
        ),
    ],
)
def test_invalid_settings_are_refused(make: Callable[[], nn.Module], message: str):
    with pytest.raises(ArmError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("FrameCNN", (1, 3, 31, 64), "images of 31 x 64; give 32 or more"),
        *(
            (name, (2, 3, 80, 40), "images of 80 x 40 where 40 x 80 .* the same size")
            for name in ("STN", "RegSTN", "RandomCrops")
        ),
        ("TSM", (1, 8, 32, 32), r"8 frames where 3 are expected.*num_frames"),
        ("SifaGenerator", (1, 3, 12, 16), "SifaGenerator: images of 12 x 16; give sides that"),
        ("ReleasedDeepLab", (1, 3, 40, 80), "one image in a training batch"),
        ("DeepLabV3Plus", (1, 3, 40, 80), "one image in a training batch"),
    ],
)
def test_images_that_do_not_fit_are_refused(net: nn.Module, shape: tuple, message: str):
    with pytest.raises(ArmError, match=message):
        net(torch.zeros(shape))
