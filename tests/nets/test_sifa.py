"""SIFA's segmenter: the published layers and sizes, what each head sees, and odd widths.

That it keeps the contract of segmenters is in `test_segmenters.py`.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter
from lus_ray.nets.sifa import ResidualUnit


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pair(net: SifaSegmenter, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a deep one encodes: the latent maps and those before them."""
    latents = net.encode(images)
    assert isinstance(latents, tuple)
    return latents


def latent(net: SifaSegmenter, images: Tensor) -> Tensor:
    """What a plain one encodes."""
    maps = net.encode(images)
    assert isinstance(maps, Tensor)
    return maps


@pytest.mark.parametrize(
    ("settings", "of_encoder", "num_heads"),
    [({}, 27_518_992, 1), ({"num_channels": 1, "dropout": 0, "deep": True}, 27_517_424, 2)],
)
def test_numbers_of_parameters_are_the_published_ones(
    settings: dict, of_encoder: int, num_heads: int
):
    with torch.device("meta"):
        net = SifaSegmenter(2, **settings)
    assert sum(p.numel() for p in net.parameters()) == of_encoder + num_heads * 512 * 2


def test_an_image_of_256_x_256_has_512_latent_maps_of_32_x_32():
    with torch.device("meta"):
        net = SifaSegmenter(2)
        images = torch.zeros(2, 3, 256, 256)
        assert latent(net, images).shape == (2, 512, 32, 32)
        assert net(images).shape == (2, 2, 256, 256)


def test_units_widen_and_shrink_as_published():
    net = SifaSegmenter(2, width=1)
    shapes: list[tuple[int, ...]] = []
    for module in net.modules():
        if isinstance(module, ResidualUnit | nn.MaxPool2d):
            module.register_forward_hook(lambda _, __, maps: shapes.append(tuple(maps.shape[1:])))
    net(torch.zeros(2, 3, 16, 24))
    assert shapes == [
        *[(1, 16, 24), (1, 8, 12)],
        *[(2, 8, 12), (2, 4, 6)],
        *[(4, 4, 6), (4, 4, 6), (4, 2, 3)],
        *[(8, 2, 3)] * 2,
        *[(16, 2, 3)] * 4,
        *[(32, 2, 3)] * 4,
    ]


def test_a_convolution_is_followed_by_dropout_then_normalisation_then_relu():
    net = SifaSegmenter(2, width=1)
    kinds: list[str] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, _, __: kinds.append(type(module).__name__))
    net(torch.zeros(2, 3, 16, 24))
    layer = ["Conv2d", "Dropout", "BatchNorm2d", "ReLU"]
    assert kinds[:11] == layer + layer + layer[:3]
    assert kinds[-10:] == layer + layer + layer[:2]


def test_only_the_last_two_units_are_dilated():
    convolutions = [m for m in SifaSegmenter(2, width=1).modules() if isinstance(m, nn.Conv2d)]
    dilations = [m.dilation[0] for m in convolutions]
    assert dilations == [1] * 25 + [2] * 4 + [1] * 3


def test_normalisations_are_those_of_the_released_code():
    norms = [m for m in SifaSegmenter(2, width=1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps, norm.affine) for norm in norms} == {(0.1, 1e-3, True)}


@pytest.mark.parametrize(("dropout", "num_dropouts"), [(0.25, 32), (0.0, 0)])
def test_every_convolution_has_its_dropout_or_none_has(dropout: float, num_dropouts: int):
    net = SifaSegmenter(2, width=1, dropout=dropout)
    chances = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert chances == [dropout] * num_dropouts


def test_weights_begin_normal_within_two_deviations_of_a_hundredth():
    torch.manual_seed(0)
    net = SifaSegmenter(2, width=8)
    for name, parameter in net.named_parameters():
        if parameter.dim() == 4:
            assert parameter.abs().max() <= 0.02, name
    assert net.get_parameter("dilated.0.body.0.weight").std().item() == pytest.approx(
        0.0088, rel=0.01
    )


@pytest.mark.parametrize(
    ("num_added", "expected"), [(0, [1, 1]), (2, [0, 1, 1, 0]), (3, [0, 1, 1, 0, 0])]
)
def test_a_wider_unit_leaves_the_identity_in_the_middle(num_added: int, expected: list[int]):
    body = nn.Conv2d(2, 2 + num_added, 1, bias=False)
    nn.init.zeros_(body.weight)
    maps = ResidualUnit(body, num_added=num_added)(torch.ones(1, 2, 1, 1))
    assert maps.flatten().tolist() == expected


def test_logits_are_those_of_the_latent_maps_decided(images: Tensor):
    net = SifaSegmenter(2, width=2).eval()
    assert torch.equal(net(images), net.decide(latent(net, images), (16, 24)))


def test_logits_are_enlarged_along_a_line_from_one_centre_to_the_next():
    net = SifaSegmenter(1, width=1).eval()
    nn.init.zeros_(net.get_parameter("out.weight"))
    with torch.no_grad():
        net.get_parameter("out.weight")[0, 0] = 1
    maps = torch.zeros(1, 32, 1, 2)
    maps[0, 0, 0, 1] = 8
    row = net.decide(maps, (8, 16))[0, 0, 3]
    expected = [0, 0, 0, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8, 8, 8, 8]
    torch.testing.assert_close(row, torch.tensor(expected))


def test_the_second_head_learns_from_the_maps_before_the_dilated_units(images: Tensor):
    net = SifaSegmenter(2, width=2, dropout=0, deep=True)
    net.decide_deep(pair(net, images)[1], (16, 24)).square().sum().backward()
    touched = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert touched == {"first", "descent", "deep_out"}


def test_the_second_head_takes_no_part_in_the_logits(images: Tensor):
    net = SifaSegmenter(2, width=2, dropout=0, deep=True)
    net(images).square().sum().backward()
    touched = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert touched == {"first", "descent", "dilated", "out"}


def test_the_logits_of_both_heads_have_the_size_that_is_asked_for(images: Tensor):
    net = SifaSegmenter(3, width=2, deep=True)
    latent, deep = pair(net, images)
    assert latent.shape == deep.shape == (2, 64, 2, 3)
    assert net.decide(latent, (16, 24)).shape == (2, 3, 16, 24)
    assert net.decide_deep(deep, (16, 24)).shape == (2, 3, 16, 24)


def test_a_second_head_that_was_not_built_is_refused():
    with pytest.raises(ArmError, match="no second head; build it with deep=True"):
        SifaSegmenter(2, width=1).decide_deep(torch.zeros(1, 32, 2, 3), (16, 24))


@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 3), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_any_width_gives_finite_logits_of_any_size_that_eight_divides(
    width: int, rows: int, columns: int
):
    torch.manual_seed(0)
    images = torch.rand(2, 1, 8 * rows, 8 * columns) * 2 - 1
    net = SifaSegmenter(2, num_channels=1, width=width)
    logits = net(images)
    assert logits.shape == (2, 2, 8 * rows, 8 * columns)
    assert torch.isfinite(logits).all()
    assert latent(net, images).shape == (2, 32 * width, rows, columns)


def test_images_that_cannot_be_encoded_are_refused_before_any_work():
    with pytest.raises(ArmError, match="20 x 24; give sides that are multiples of 8"):
        SifaSegmenter(2, width=1).encode(torch.zeros(1, 3, 20, 24))


def test_settings_that_make_no_network_are_refused():
    with pytest.raises(ArmError, match="width 0; give 1 or more"):
        SifaSegmenter(2, width=0)
    with pytest.raises(ArmError, match=r"dropout 1\.0; give 0 or more, and less than 1"):
        SifaSegmenter(2, dropout=1.0)
