"""MobileNetV2: strides traded for dilation, and the layers that are left out."""

import pytest
import torch
from torch import nn

from lus_ray.nets.encoder import load_encoder
from lus_ray.nets.mobilenet import InvertedResidual, MobileNetV2


def dilations(net: MobileNetV2) -> list[int]:
    """Of the 17 blocks, each with one dilated convolution."""
    blocks = [block for block in net.features if isinstance(block, InvertedResidual)]
    return [max(m.dilation[0] for m in b.modules() if isinstance(m, nn.Conv2d)) for b in blocks]


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [(32, [1] * 17), (16, [1] * 14 + [2] * 3), (8, [1] * 7 + [2] * 7 + [4] * 3)],
)
def test_dilation_replaces_strides(output_stride: int, expected: list[int]):
    net = MobileNetV2(width=8, output_stride=output_stride)
    assert net(torch.zeros(1, 3, 64, 96)).shape[2:] == (64 // output_stride, 96 // output_stride)
    assert dilations(net) == expected


def test_weights_of_stride_32_give_the_same_maps_at_stride_8():
    torch.manual_seed(0)
    strided = MobileNetV2(width=8).eval()
    dilated = MobileNetV2(width=8, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(dilated(images)[:, :, ::4, ::4], strided(images))


def test_weights_of_the_last_convolution_and_the_classifier_are_skipped():
    encoder = MobileNetV2(width=8)
    state = {name: torch.full_like(t, 2) for name, t in encoder.state_dict().items()}
    more = {"features.18.0.weight": torch.ones(1), "classifier.1.weight": torch.ones(1)}
    assert set(load_encoder(encoder, {**state, **more})) == set(state)
    assert all((parameter == 2).all() for parameter in encoder.parameters())
