"""Stem and rest of segmenters, and the published sizes on the meta device."""

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

SIZE = (40, 80)
"""Multiples of the strides of all networks: 4, 8 and 20."""


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
    "ReleasedUNetPlusPlus": partial(nets.ReleasedUNetPlusPlus, NUM_OUTPUTS, width=16),
    "SifaSegmenter": partial(nets.SifaSegmenter, NUM_OUTPUTS, width=2),
    "UNet": partial(nets.UNet, NUM_OUTPUTS, num_channels=3, widths=(4, 8, 16), dropout=0.5),
    "UNetPlusPlus": partial(
        nets.UNetPlusPlus, NUM_OUTPUTS, encoder="resnet18", width=16, dropout=0.1
    ),
}


@pytest.fixture(params=sorted(SEGMENTERS))
def net(request: pytest.FixtureRequest) -> Segmenter:
    torch.manual_seed(0)
    return SEGMENTERS[request.param]()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def test_no_dropout_acts_in_the_stem_and_all_act_in_the_rest(net: Segmenter, images: Tensor):
    called: list[nn.Module] = []
    dropouts = [module for module in net.modules() if isinstance(module, nn.Dropout)]
    for module in dropouts:
        module.register_forward_hook(lambda module, _, __: called.append(module))
    stem = net.stem(images)
    assert called == []
    net.rest(stem, SIZE)
    assert bool(dropouts) != isinstance(net, nets.PositionPrior)
    assert set(called) == set(dropouts)


def test_the_rest_of_the_stem_is_the_output_and_leaves_the_stem(net: Segmenter, images: Tensor):
    net.eval()
    with torch.no_grad():
        stem = net.stem(images)
        before = [maps.clone() for maps in stem]
        first, second = net.rest(stem, SIZE), net.rest(stem, SIZE)
        assert torch.equal(first, second)
        assert torch.equal(first, net(images))
    assert all(torch.equal(maps, copy) for maps, copy in zip(stem, before, strict=True))


@pytest.mark.parametrize(
    ("make", "num_channels", "size"),
    [
        (partial(nets.UNetPlusPlus, 5), 3, (200, 260)),
        (partial(nets.DeepLabV3Plus, 5), 3, (200, 260)),
        (partial(nets.UNet, 5), 1, (624, 464)),
    ],
)
def test_published_sizes_are_segmented(make: Callable, num_channels: int, size: tuple[int, int]):
    with torch.device("meta"):
        assert make()(torch.zeros(2, num_channels, *size)).shape == (2, 5, *size)


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
