"""SIFA's segmenter: the published layers and sizes, and the inputs of each head."""

import pytest
import torch
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter
from lus_ray.nets.sifa import ResidualUnit


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


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


def test_dropout_then_normalisation_then_relu_follow_a_convolution():
    net = SifaSegmenter(2, width=1)
    kinds: list[str] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, _, __: kinds.append(type(module).__name__))
    net(torch.zeros(2, 3, 16, 24))
    layer = ["Conv2d", "Dropout", "BatchNorm2d", "ReLU"]
    assert kinds[:11] == layer + layer + layer[:3]
    assert kinds[-10:] == layer + layer + layer[:2]


@pytest.mark.parametrize(("dropout", "num_dropouts"), [(0.25, 32), (0.0, 0)])
def test_layers_are_those_of_the_released_code(dropout: float, num_dropouts: int):
    torch.manual_seed(0)
    net = SifaSegmenter(2, width=8, dropout=dropout)
    modules = list(net.modules())
    assert [m.p for m in modules if isinstance(m, nn.Dropout)] == [dropout] * num_dropouts
    dilations = [m.dilation[0] for m in modules if isinstance(m, nn.Conv2d)]
    assert dilations == [1] * 25 + [2] * 4 + [1] * 3
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps, norm.affine) for norm in norms} == {(0.1, 1e-3, True)}
    assert all(p.abs().max() <= 0.02 for p in net.parameters() if p.dim() == 4)
    weight = net.get_parameter("dilated.0.body.0.weight")
    assert weight.std().item() == pytest.approx(0.0088, rel=0.01)


@pytest.mark.parametrize(
    ("num_added", "expected"), [(0, [1, 1]), (2, [0, 1, 1, 0]), (3, [0, 1, 1, 0, 0])]
)
def test_a_wider_unit_leaves_the_identity_in_the_middle(num_added: int, expected: list[int]):
    body = nn.Conv2d(2, 2 + num_added, 1, bias=False)
    nn.init.zeros_(body.weight)
    maps = ResidualUnit(body, num_added=num_added)(torch.ones(1, 2, 1, 1))
    assert maps.flatten().tolist() == expected


def test_logits_are_interpolated_between_the_centres_of_latent_pixels():
    net = SifaSegmenter(1, width=1).eval()
    nn.init.zeros_(net.get_parameter("out.weight"))
    with torch.no_grad():
        net.get_parameter("out.weight")[0, 0] = 1
    maps = torch.zeros(1, 32, 1, 2)
    maps[0, 0, 0, 1] = 8
    row = net.decide(maps, (8, 16))[0, 0, 3]
    expected = [0, 0, 0, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8, 8, 8, 8]
    torch.testing.assert_close(row, torch.tensor(expected))


@pytest.mark.parametrize(
    ("is_deep", "trained"),
    [(True, {"first", "descent", "deep_out"}), (False, {"first", "descent", "dilated", "out"})],
)
def test_the_second_head_takes_the_maps_before_the_dilated_units(images, is_deep, trained):
    net = SifaSegmenter(3, width=2, dropout=0, deep=True)
    latent, deep = net.encode(images)
    assert latent.shape == deep.shape == (2, 64, 2, 3)
    logits = net.decide_deep(deep, (16, 24)) if is_deep else net(images)
    assert logits.shape == (2, 3, 16, 24)
    logits.square().sum().backward()
    assert {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None} == trained


def test_deep_maps_need_a_second_head():
    with pytest.raises(ArmError, match="no second head; build it with deep=True"):
        SifaSegmenter(2, width=1).decide_deep(torch.zeros(1, 32, 2, 3), (16, 24))
