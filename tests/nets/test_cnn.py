"""FrameCNN: the published sizes, and its parts."""

import pytest
import torch
from torch import nn

from lus_ray.nets.cnn import ConvTrunk, FrameCNN


def test_all_channels_grow_with_the_width():
    net = FrameCNN(3, width=8)
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions[::2]] == [8, 16, 16, 16, 32, 32]
    assert [part.out_channels for part in convolutions[1::2]] == [8, 16, 16, 16, 32, 32]
    assert (net.trunk.num_channels, net.num_features) == (32, 64)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(("side", "maps_side"), [(224, 7), (112, 3), (32, 1)])
def test_five_of_six_blocks_halve_images(side: int, maps_side: int):
    maps = FrameCNN(width=4).maps(torch.rand(2, 3, side, side + 32))
    assert maps.shape == (2, 16, maps_side, maps_side + 1)


def test_only_the_fifth_block_drops_values_and_after_its_pool():
    blocks = dict(ConvTrunk(4).named_children())
    assert list(blocks) == [f"block{n}" for n in range(1, 7)]
    assert [type(part) for part in blocks["block5"]][-2:] == [nn.MaxPool2d, nn.Dropout]
    drops = [part.p for part in FrameCNN().modules() if isinstance(part, nn.Dropout)]
    assert drops == [0.3, 0.5]


def test_the_network_is_maps_pooling_and_head():
    torch.manual_seed(0)
    net, images = FrameCNN(width=4).eval(), torch.rand(2, 3, 96, 96)
    inputs = []
    net.trunk.block1.conv1.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    with torch.no_grad():
        maps = net.maps(images)
        mean = maps.mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(net.head(net.pooled(maps)), net(images))
        torch.testing.assert_close(net.pooled(maps), net.pooled(mean))
    assert torch.equal(inputs[0], images)  # without normalisation
