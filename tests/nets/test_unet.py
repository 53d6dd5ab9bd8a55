"""U-Nets: levels, dropout, and the convolution of two paths as two."""

import torch
from torch import nn
from torch.nn import functional

from lus_ray.nets import MarkerUNet, UNet


def shapes_of(net: nn.Module, images: torch.Tensor, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    """Channels, rows and columns of the outputs of every module of a kind, in order."""
    shapes: list[tuple[int, ...]] = []
    for module in net.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net(images)
    return shapes


def test_a_unet_goes_down_and_up_again():
    net = UNet(2, widths=(4, 8, 16), batch_norm=False)
    fine, middle, coarse = ([shape] * 2 for shape in ((4, 8, 12), (8, 4, 6), (16, 2, 3)))
    shapes = shapes_of(net, torch.zeros(1, 1, 8, 12), nn.ReLU)
    assert shapes == fine + middle + coarse + middle + fine


def test_dropout_follows_every_normalisation():
    net = UNet(1, widths=(16, 32, 64, 128), dropout=0.5)
    dropouts = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(dropouts) == len(norms) == 14
    assert {m.p for m in dropouts} == {0.5}


def test_a_marker_unet_pools_by_2_and_2_and_5():
    convolutions = shapes_of(MarkerUNet(width=4), torch.zeros(1, 3, 40, 60), nn.Conv2d)
    sides = list(dict.fromkeys(shape[1:] for shape in convolutions))
    assert sides == [(40, 60), (20, 30), (10, 15), (2, 3)]


def test_two_convolutions_of_two_paths_equal_a_convolution_of_both():
    net = MarkerUNet(width=4)
    across, below = net.across[0], net.below[0]
    paths = torch.rand(2, 1, 16, 10, 15)
    weight = torch.cat([across.weight, below.weight], dim=1)
    whole = functional.conv2d(torch.cat([*paths], dim=1), weight, across.bias, padding=2)
    torch.testing.assert_close(across(paths[0]) + below(paths[1]), whole)


def test_a_marker_unet_begins_within_two_deviations():
    net, std = MarkerUNet(), (2 / (64 * 25)) ** 0.5
    for name in ("descent.2.2.weight", "below.0.weight"):
        assert net.get_parameter(name).abs().max() <= 2 * std / 0.8796
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))
