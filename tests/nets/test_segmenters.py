"""Small segmenters, the sizes of images that they take, and the cost of dropout samples."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lus_ray import nets
from lus_ray.errors import ArmError
from lus_ray.nets.segmenter import Segmenter

NUM_OUTPUTS = 5


def position_prior() -> nets.PositionPrior:
    """A trained one; it begins at zero."""
    net = nets.PositionPrior(NUM_OUTPUTS, rows=4, columns=6)
    nn.init.normal_(net.get_parameter("out.weight"))
    return net


SEGMENTERS: dict[str, Callable[[], Segmenter]] = {
    "DeepLabV3Plus": partial(nets.DeepLabV3Plus, NUM_OUTPUTS, encoder="resnet18", width=8),
    "MarkerUNet": partial(nets.MarkerUNet, NUM_OUTPUTS, width=4),
    "PositionPrior": position_prior,
    "ReleasedDeepLab": partial(nets.ReleasedDeepLab, NUM_OUTPUTS, width=8),
    "ReleasedUNetPlusPlus": partial(nets.ReleasedUNetPlusPlus, NUM_OUTPUTS, width=8),
    "SifaSegmenter": partial(nets.SifaSegmenter, NUM_OUTPUTS, width=2),
    "UNet": partial(nets.UNet, NUM_OUTPUTS, num_channels=3, widths=(4, 8, 16), dropout=0.5),
    "UNetPlusPlus": partial(
        nets.UNetPlusPlus, NUM_OUTPUTS, encoder="resnet18", width=4, dropout=0.1
    ),
}


@pytest.mark.parametrize("make", [nets.MarkerUNet, nets.ReleasedUNetPlusPlus, nets.ReleasedDeepLab])
def test_forty_samples_cost_less_than_half_of_forty_passes(make: Callable[[], Segmenter]):
    size = (200, 260)
    with torch.device("meta"):
        net, images = make(), torch.zeros(2, 3, *size)
        with FlopCounterMode(display=False) as of_stem:
            stem = net.stem(images)
        with FlopCounterMode(display=False) as of_rest:
            assert net.rest(stem, size).shape == (2, 5, *size)
    once, repeated = of_stem.get_total_flops(), of_rest.get_total_flops()
    assert once + 40 * repeated < 40 * (once + repeated) / 2


MULTIPLES = {"UNet": (4, "44 x 64"), "MarkerUNet": (20, "60 x 80"), "SifaSegmenter": (8, "48 x 64")}


@pytest.mark.parametrize("name", SEGMENTERS)
def test_any_size_is_segmented_or_refused_with_the_next_valid_size(name: str):
    net, images = SEGMENTERS[name]().eval(), torch.zeros(1, 3, 42, 61)
    if name in MULTIPLES:
        multiple, nearest = MULTIPLES[name]
        message = (
            f"{name}: images of 42 x 61; give sides that are multiples of {multiple}, such as "
        )
        with pytest.raises(ArmError, match=message + nearest):
            net(images)
    else:
        with torch.no_grad():
            assert net(images).shape == (1, NUM_OUTPUTS, 42, 61)


def test_a_position_prior_has_the_same_output_for_every_image_and_begins_at_zero(images: Tensor):
    assert nets.PositionPrior(NUM_OUTPUTS)(images).abs().max() == 0
    net = position_prior()
    logits = net(images)
    assert torch.equal(logits, logits[:1].expand_as(logits))
    assert torch.equal(logits, net(1 - images))
    assert torch.equal(net(torch.zeros(1, 1, 4, 6))[0], net.get_parameter("out.weight"))
