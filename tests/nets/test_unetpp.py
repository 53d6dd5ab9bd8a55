"""U-Net++, released and canonical: connections, dropout and padding."""

import pytest
import torch
from torch import nn

from lus_ray.nets import ReleasedUNetPlusPlus, UNetPlusPlus
from lus_ray.nets.segmenter import crop_to_size, pad_to_multiple
from lus_ray.nets.unetpp import LeakyResidual


@pytest.mark.parametrize(
    ("size", "padded_size", "top_left"),
    [
        ((200, 260), (224, 288), (12, 14)),
        ((32, 64), (32, 64), (0, 0)),
        ((1, 33), (32, 64), (15, 15)),
        ((31, 45), (32, 64), (0, 9)),
    ],
)
def test_padding_is_centred_and_can_be_cropped(size: tuple, padded_size: tuple, top_left: tuple):
    images = 1 + torch.rand(1, 2, *size)
    padded = pad_to_multiple(images, 32)
    assert padded.shape[2:] == padded_size
    assert padded[0, 0].nonzero()[0].tolist() == list(top_left)
    assert torch.equal(crop_to_size(padded, size, 32), images)


def test_every_released_level_rises_to_all_finer_ones():
    net = ReleasedUNetPlusPlus(width=8)  # levels of 1, 2, 4, 8, 16 channels under a ResNet of 8
    joined = [net.get_parameter(f"decoder.{level}.1.weight").shape[1] for level in range(5)]
    assert joined == [1, 2 + 4 + 8 + 16 + 8, 4 + 8 + 16 + 32, 8 + 16 + 64, 16 + 128]
    assert [len(list(rise.children())) for rise in net.rises] == [1, 1, 2, 3, 4]


def test_released_dropout_is_halved_on_the_fine_levels():
    net = ReleasedUNetPlusPlus(width=8, dropout=0.2)
    chances = [m.p for m in net.decoder.modules() if isinstance(m, nn.Dropout)]
    assert chances == [0.1, 0.1, 0.1, 0.2, 0.2]
    assert net.dropout.p == 0.1
    assert net.get_submodule("middle.0").p == 0.2


def test_a_residual_adds_its_branch_to_the_raw_input():
    block = LeakyResidual(1)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    for layer in (1, 3):
        block.get_parameter(f"branch.{layer}.weight").data[0, 0, 1, 1] = 1
    x = torch.tensor([[[[2.0, -100.0]]]])
    assert torch.allclose(block(x), torch.tensor([[[[2 + 2, -100 - 1.0]]]]))


def test_a_nested_node_takes_all_earlier_ones_of_its_size():
    net = UNetPlusPlus(2, encoder="resnet18", width=8)  # maps of 64, 32, 16, 8, 8 channels
    inputs = {name: node[0].in_channels for name, node in net.nodes.items()}  # type: ignore[index]
    maps = (64, 32, 16, 8, 8)
    expected = {"0_4": 4}
    for column in range(4):
        for start in range(column + 1):
            num_skips = column + 1 - start
            expected[f"{start}_{column}"] = maps[column] + num_skips * maps[column + 1]
    assert inputs == expected
