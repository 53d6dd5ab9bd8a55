"""Crops: the published sizes and first values, where crops lie, and what they share."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from lus_ray.nets.crops import CropNet, RandomCrops, affine_matrices, crop_corners
from lus_ray.nets.stn import STN, RegSTN

SIZE = (64, 96)

NETS: dict[str, Callable[..., CropNet]] = {
    "STN": STN,
    "RegSTN": RegSTN,
    "RegSTN, fixed scale": partial(RegSTN, transform="fixed scale"),
    "RegSTN, own translation": partial(RegSTN, own_translation=True),
    "RandomCrops": RandomCrops,
}


def build(name: str) -> CropNet:
    torch.manual_seed(0)
    return NETS[name](5, width=4, size=SIZE)


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> CropNet:
    return build(request.param)


@pytest.fixture
def images() -> Tensor:
    """Three colour images of 64 x 96 in [0, 1]."""
    return torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def crop(side: float, x: float, y: float) -> Tensor:
    return torch.tensor([[side, 0, x], [0, side, y]])


@pytest.mark.parametrize(
    ("name", "scales", "offset"),
    [
        ("STN", [0.5], 0.2),
        ("RegSTN, fixed scale", [0.5, 0.75], 0.3),
        ("RandomCrops", [0.5, 0.75], 0.0),
    ],
)
def test_first_crops_of_an_evaluation(name: str, scales: list, offset: float, images: Tensor):
    branches = build(name).eval().branches(images)
    expected = torch.stack([crop(scale, offset, offset) for scale in scales])
    assert_close(branches.theta, expected.expand(3, -1, 2, 3), atol=1e-6, rtol=0)
    assert branches.scales is None or branches.scales.tolist() == [scales] * 3
    assert (branches.scales is None) == (name == "STN")


def test_the_full_transformer_begins_with_scales_after_the_sigmoid(images: Tensor):
    branches = build("RegSTN").eval().branches(images)
    first = torch.tensor([0.622459, 0.679179]).expand(3, 2)  # sigmoid of 0.5 and 0.75
    assert_close(branches.scales, first, atol=1e-6, rtol=0)
    assert_close(branches.theta[..., 1, 1], branches.theta[..., 0, 0], atol=0, rtol=0)
    assert_close(branches.theta[..., 2], torch.full((3, 2, 2), 0.3))


def test_first_rotations_are_random_with_a_deviation_of_a_tenth(images: Tensor):
    torch.manual_seed(0)
    biases = [RegSTN(width=1, size=32).localiser.heads["rotation"].bias for _ in range(40)]
    assert torch.stack(biases).std().item() == pytest.approx(0.1, rel=0.15)
    net = build("RegSTN").eval()
    theta = net.theta(images)[0]
    rotations = torch.stack([theta[:, 0, 1], theta[:, 1, 0]], 1).flatten()
    assert_close(rotations, net.localiser.heads["rotation"].bias)


@pytest.mark.parametrize("name", ["RegSTN", "RegSTN, fixed scale", "RegSTN, own translation"])
def test_the_large_crop_takes_and_trains_its_own_translation_only_on_request(name, images):
    net, is_own = build(name), name == "RegSTN, own translation"
    branches = net.branches(images)
    assert_close(branches.theta[:, 0, :, 2], torch.full((3, 2), 0.3))
    assert_close(branches.theta[:, 1, :, 2], torch.full((3, 2), 0.2 if is_own else 0.3))
    branches.logits.square().sum().backward()
    gradient = net.localiser.heads["translation"].bias.grad
    assert (gradient != 0).tolist() == [True, True, is_own, is_own]


def test_shapes_and_costs(net: CropNet, images: Tensor):
    branches = net.branches(images)
    num_crops = 1 if isinstance(net, STN) else 2
    assert branches.logits.shape == (3, num_crops, 5)
    assert branches.theta.shape == net.theta(images).shape == (3, num_crops, 2, 3)
    assert branches.scales is None or branches.scales.shape == (3, num_crops)
    assert net.crops(images, branches.theta).shape == (3 * num_crops, 3, 32, 48)
    assert net.get_parameter(f"{net.head_name}.weight").shape == (5, net.num_features)
    batches = []  # evaluation needs the small crop only
    net.classifier.trunk.register_forward_hook(lambda _, x, __: batches.append(len(x[0])))
    net.eval()(images)
    net.train()(images)
    assert batches == [3, 3 * num_crops]


def test_the_statistics_of_the_classifier_mix_both_crops(images: Tensor):
    net = build("RegSTN, fixed scale")
    with torch.no_grad():
        maps = net.classifier.trunk.block1.conv1(net.crops(images, net.theta(images)))
        net.branches(images)
    norm = net.classifier.trunk.block1.norm1
    assert norm.num_batches_tracked == 1
    assert_close(norm.running_mean, 0.1 * maps.mean(dim=(0, 2, 3)))
    small = 0.1 * maps.unflatten(0, (3, 2))[:, 0].mean(dim=(0, 2, 3))
    assert (norm.running_mean - small).abs().max() > 1e-4


def test_a_crop_of_the_whole_image_is_a_resize(images: Tensor):
    whole = torch.eye(2, 3).expand(3, 1, 2, 3)
    expected = functional.interpolate(images, (32, 48), mode="bilinear")
    assert_close(build("STN").crops(images, whole), expected)
    small = images[..., :40, :56]
    assert STN(width=4, size=(40, 56)).crops(small, whole).shape[2:] == (32, 32)  # at least


def test_crops_come_image_by_image_and_are_black_outside_the_image():
    images = torch.stack([torch.full((3, *SIZE), 0.25), torch.ones(3, *SIZE)])
    theta = torch.stack([crop(0.5, 0.0, 0.0), crop(0.5, 2.0, 0.0)]).expand(2, 2, 2, 3)
    values = build("RandomCrops").crops(images, theta).mean(dim=(1, 2, 3))
    assert values.tolist() == pytest.approx([0.25, 0, 1, 0], abs=1e-6)


def test_crops_and_theta_keep_their_precision_under_autocast(images: Tensor):
    net = build("RegSTN").eval()
    with torch.no_grad():
        theta = net.theta(images)
        crops = net.crops(images, theta)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(net.theta(images), theta)
            assert torch.equal(net.crops(images, theta), crops)


def test_corners_of_a_quarter_are_in_drawing_order():
    corners = crop_corners(crop(0.5, 0.5, -0.5))
    assert corners.tolist() == [[0.5, 0], [1, 0], [1, 0.5], [0.5, 0.5]]


@settings(max_examples=20, deadline=None)
@given(
    scale=st.floats(0.2, 0.5),
    turns=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    centre=st.tuples(st.floats(-0.25, 0.25), st.floats(-0.25, 0.25)),
)
def test_corners_are_where_the_crop_is_taken(scale: float, turns: tuple, centre: tuple):
    y, x = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in SIZE), indexing="ij")
    positions = torch.stack([x, y, torch.ones(SIZE)])[None]
    theta = affine_matrices(*map(torch.tensor, ([[scale]], [[turns]], [[centre]])))
    values = build("STN").crops(positions, theta)[0]
    expected = crop_corners(theta)[0, 0]
    # Pixel centres of a crop lie half a pixel inside it: 1/64 of 32 rows, 1/96 of 48 columns.
    across, down = expected[1] - expected[0], expected[3] - expected[0]
    assert_close(values[:2, 0, 0], expected[0] + across / 96 + down / 64, atol=1e-5, rtol=0)
    assert_close(values[:2].mean(dim=(1, 2)), expected.mean(dim=0), atol=1e-5, rtol=0)
    assert values[2].min() > 0.999


@example(sides=(0.01, 0.0100001), seed=0)  # less than one step of the centres apart
@settings(max_examples=30, deadline=None)
@given(
    sides=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
    seed=st.integers(0, 2**32),
)
def test_the_image_contains_the_large_random_crop_and_this_the_small_one(sides: tuple, seed: int):
    net = RandomCrops(width=1, size=32, sides=sides)
    torch.manual_seed(seed)
    theta = net.theta(torch.zeros(64, 3, 32, 32))
    small, large = crop_corners(theta.double()).unbind(1)  # float64 compares without rounding
    assert (small[:, 0] >= large[:, 0]).all()
    assert (small[:, 2] <= large[:, 2]).all()
    assert (large >= 0).all()
    assert (large <= 1).all()


def test_random_crops_reach_every_side_and_follow_the_seed():
    net, images = RandomCrops(width=1, size=32), torch.zeros(2000, 3, 32, 32)
    torch.manual_seed(0)
    theta = net.theta(images)
    torch.manual_seed(0)
    assert torch.equal(net.theta(images), theta)
    small, large = theta[..., 2].unbind(1)
    for offset in (large, small - large):
        assert offset.abs().amax(dim=0).tolist() == pytest.approx([0.25, 0.25], abs=0.002)
    assert theta[..., 2].mean(dim=(0, 1)).tolist() == pytest.approx([0, 0], abs=0.02)
