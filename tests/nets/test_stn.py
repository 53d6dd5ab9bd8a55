"""Crops: the published sizes and first values, where crops lie, and what they share."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError
from lus_ray.nets.crops import CropNet, RandomCrops, affine_matrices, crop_corners
from lus_ray.nets.stn import STN, RegSTN

SIZE = (64, 96)

NETS: dict[str, Callable[[], CropNet]] = {
    "STN": lambda: STN(5, width=4, size=SIZE),
    "RegSTN": lambda: RegSTN(5, width=4, size=SIZE),
    "RegSTN, fixed scale": lambda: RegSTN(5, width=4, size=SIZE, transform="fixed scale"),
    "RegSTN, own translation": lambda: RegSTN(5, width=4, size=SIZE, own_translation=True),
    "RandomCrops": lambda: RandomCrops(5, width=4, size=SIZE),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> CropNet:
    torch.manual_seed(0)
    return NETS[request.param]()


@pytest.fixture
def images() -> Tensor:
    """Three colour images of 64 x 96 in [0, 1]."""
    return torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def num_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def ramps(height: int, width: int) -> Tensor:
    """One image (1, 3, H, W) that tells, at each pixel, its x and its y as fractions, and 1."""
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width).expand(height, width)
    return torch.stack([x, y, torch.ones(height, width)])[None]


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (STN, 1_699_114),
        (RegSTN, 1_699_246),
        (lambda: RegSTN(own_translation=True), 1_699_246),
        (lambda: RegSTN(transform="fixed scale"), 1_699_048),
        (RandomCrops, 766_372),
    ],
)
def test_networks_have_the_published_number_of_parameters(
    build: Callable[[], CropNet], published: int
):
    assert num_parameters(build()) == published


def test_the_localiser_of_224_pixels_flattens_6272_numbers():
    assert STN().localiser.hidden.in_features == 6272


def test_the_single_transformer_begins_right_of_the_middle(images: Tensor):
    branches = NETS["STN"]().eval().branches(images)
    expected = torch.tensor([[0.5, 0, 0.2], [0, 0.5, 0.2]]).expand(3, 1, 2, 3)
    torch.testing.assert_close(branches.theta, expected, atol=1e-6, rtol=0)
    assert branches.scales is None


def test_the_full_transformer_begins_with_scales_after_the_sigmoid(images: Tensor):
    branches = NETS["RegSTN"]().eval().branches(images)
    first = torch.tensor([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-0.75))])
    torch.testing.assert_close(first, torch.tensor([0.622459, 0.679179]), atol=1e-6, rtol=0)
    torch.testing.assert_close(branches.scales, first.expand(3, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(branches.theta[..., 1, 1], branches.theta[..., 0, 0], atol=0, rtol=0)
    torch.testing.assert_close(branches.theta[..., 2], torch.full((3, 2, 2), 0.3))


def test_rotations_begin_by_chance_about_a_tenth(images: Tensor):
    torch.manual_seed(0)
    tiny = [RegSTN(width=1, size=32).localiser.heads["rotation"].bias for _ in range(100)]
    assert torch.stack(tiny).std().item() == pytest.approx(0.1, rel=0.1)
    net = NETS["RegSTN"]().eval()
    drawn = net.localiser.heads["rotation"].bias.detach()
    theta = net.theta(images)[0].detach()
    torch.testing.assert_close(torch.stack([theta[:, 0, 1], theta[:, 1, 0]], 1).flatten(), drawn)


def test_the_fixed_transformer_keeps_half_and_three_quarters_and_does_not_turn(images: Tensor):
    branches = NETS["RegSTN, fixed scale"]().branches(images)
    assert branches.scales.tolist() == [[0.5, 0.75]] * 3
    assert (branches.theta[..., 0, 1] == 0).all()
    assert (branches.theta[..., 1, 0] == 0).all()
    torch.testing.assert_close(branches.theta[..., 2], torch.full((3, 2, 2), 0.3))


def translation_gradient(net: CropNet, images: Tensor) -> Tensor:
    net.branches(images).logits.square().sum().backward()
    return net.localiser.heads["translation"].bias.grad


@pytest.mark.parametrize("name", ["RegSTN", "RegSTN, fixed scale"])
def test_both_crops_take_the_first_translation_and_the_second_learns_nothing(
    name: str, images: Tensor
):
    net = NETS[name]()
    theta = net.theta(images)
    assert torch.equal(theta[:, 0, :, 2], theta[:, 1, :, 2])
    gradient = translation_gradient(net, images)
    assert (gradient[:2] != 0).all()
    assert (gradient[2:] == 0).all()


def test_a_translation_of_its_own_moves_the_large_crop_and_learns(images: Tensor):
    net = NETS["RegSTN, own translation"]()
    theta = net.theta(images)
    torch.testing.assert_close(theta[:, 0, :, 2], torch.full((3, 2), 0.3))
    torch.testing.assert_close(theta[:, 1, :, 2], torch.full((3, 2), 0.2))
    assert (translation_gradient(net, images) != 0).all()


def test_sizes_are_those_promised(net: CropNet, images: Tensor):
    branches = net.branches(images)
    num_crops = branches.theta.shape[1]
    assert num_crops == (1 if isinstance(net, STN) else 2)
    assert branches.logits.shape == (3, num_crops, 5)
    assert branches.theta.shape == net.theta(images).shape == (3, num_crops, 2, 3)
    assert branches.scales is None or branches.scales.shape == (3, num_crops)
    assert net.crops(images, branches.theta).shape == (3 * num_crops, 3, 32, 48)
    assert net.get_parameter(f"{net.head_name}.weight").shape == (5, net.num_features)


def test_in_evaluation_the_output_is_the_first_branch(net: CropNet, images: Tensor):
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(images), net.branches(images).logits[:, 0])


def test_in_evaluation_the_output_costs_one_crop(net: CropNet, images: Tensor):
    seen = []
    net.classifier.trunk.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    net.eval()(images)
    net.train()(images)
    assert seen == [3, 3 * net.theta(images).shape[1]]


def test_the_statistics_of_the_classifier_mix_both_crops(images: Tensor):
    net = NETS["RegSTN, fixed scale"]()
    with torch.no_grad():
        crops = net.crops(images, net.theta(images))
        seen = net.classifier.trunk.block1.conv1(crops)
        net.branches(images)
    norm = net.classifier.trunk.block1.norm1
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(dim=(0, 2, 3)))
    first = 0.1 * seen.unflatten(0, (3, 2))[:, 0].mean(dim=(0, 2, 3))
    assert (norm.running_mean - first).abs().max() > 1e-4


def test_a_crop_of_the_whole_picture_is_a_resize(images: Tensor):
    whole = torch.eye(2, 3).expand(3, 1, 2, 3)
    expected = functional.interpolate(images, (32, 48), mode="bilinear")
    torch.testing.assert_close(NETS["STN"]().crops(images, whole), expected)


def test_crops_come_image_by_image_and_are_black_beyond_the_picture():
    images = torch.stack([torch.full((3, *SIZE), 0.25), torch.ones(3, *SIZE)])
    inside, outside = affine_crop(0.5, 0.0, 0.0), affine_crop(0.5, 2.0, 0.0)
    theta = torch.stack([inside, outside]).expand(2, 2, 2, 3)
    values = NETS["RandomCrops"]().crops(images, theta).mean(dim=(1, 2, 3))
    assert values.tolist() == pytest.approx([0.25, 0, 1, 0], abs=1e-6)


def affine_crop(side: float, x: float, y: float) -> Tensor:
    return torch.tensor([[side, 0, x], [0, side, y]])


def test_a_small_picture_has_crops_of_32_pixels():
    net = STN(width=4, size=(40, 56))
    images = torch.rand(2, 3, 40, 56)
    assert net.crops(images, net.theta(images)).shape == (2, 3, 32, 32)


def test_crops_and_theta_keep_their_precision_under_autocast(images: Tensor):
    net = NETS["RegSTN"]().eval()
    with torch.no_grad():
        theta = net.theta(images)
        crops = net.crops(images, theta)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(net.theta(images), theta)
            assert torch.equal(net.crops(images, theta), crops)


def test_corners_of_a_quarter_are_in_drawing_order():
    top_right = affine_crop(0.5, 0.5, -0.5)
    assert crop_corners(top_right).tolist() == [[0.5, 0], [1, 0], [1, 0.5], [0.5, 0.5]]


@settings(max_examples=50, deadline=None)
@given(
    scale=st.floats(0.2, 0.5),
    turns=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    centre=st.tuples(st.floats(-0.25, 0.25), st.floats(-0.25, 0.25)),
)
def test_corners_are_where_the_crop_is_taken(
    scale: float, turns: tuple[float, float], centre: tuple[float, float]
):
    theta = affine_matrices(
        torch.tensor([[scale]]), torch.tensor([[turns]]), torch.tensor([[centre]])
    )
    crop = NETS["STN"]().crops(ramps(*SIZE), theta)[0]
    expected = crop_corners(theta)[0, 0]
    # Pixel centres of a crop lie half a pixel inside it: 1/64 of 32 rows, 1/96 of 48 columns.
    across, down = expected[1] - expected[0], expected[3] - expected[0]
    first = expected[0] + across / 96 + down / 64
    torch.testing.assert_close(crop[:2, 0, 0], first, atol=1e-5, rtol=0)
    torch.testing.assert_close(crop[:2].mean(dim=(1, 2)), expected.mean(dim=0), atol=1e-5, rtol=0)
    assert crop[2].min() > 0.999


@example(sides=(0.01, 0.0100001), seed=0)  # less than one step of the centres apart
@settings(max_examples=50, deadline=None)
@given(
    sides=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
    seed=st.integers(0, 2**32),
)
def test_the_large_random_crop_contains_the_small_one_and_the_picture_the_large_one(
    sides: tuple[float, float], seed: int
):
    net = RandomCrops(width=1, size=32, sides=sides)
    torch.manual_seed(seed)
    theta = net.theta(torch.zeros(64, 3, 32, 32))
    small, large = crop_corners(theta.double()).unbind(1)  # what is compared is not rounded
    assert (small[:, 0] >= large[:, 0]).all()
    assert (small[:, 2] <= large[:, 2]).all()
    assert (large >= 0).all()
    assert (large <= 1).all()


def test_random_crops_reach_every_side_and_follow_the_seed():
    net = RandomCrops(width=1, size=32)
    images = torch.zeros(2000, 3, 32, 32)
    torch.manual_seed(0)
    first = net.theta(images)
    torch.manual_seed(0)
    assert torch.equal(net.theta(images), first)
    small, large = first[..., 2].unbind(1)
    assert large.abs().amax(dim=0).tolist() == pytest.approx([0.25, 0.25], abs=0.002)
    assert (small - large).abs().amax(dim=0).tolist() == pytest.approx([0.25, 0.25], abs=0.002)
    assert first[..., 2].mean(dim=(0, 1)).tolist() == pytest.approx([0, 0], abs=0.02)


def test_in_evaluation_the_crops_of_chance_are_in_the_middle(images: Tensor):
    branches = NETS["RandomCrops"]().eval().branches(images)
    expected = torch.stack([affine_crop(0.5, 0, 0), affine_crop(0.75, 0, 0)])
    assert torch.equal(branches.theta, expected.expand(3, 2, 2, 3))
    assert branches.scales.tolist() == [[0.5, 0.75]] * 3


def test_a_picture_of_another_size_is_refused(net: CropNet):
    with pytest.raises(ArmError, match=r"images of 96 x 64 where 64 x 96 .* the same size"):
        net(torch.rand(2, 3, 96, 64))


@pytest.mark.parametrize("build", [STN, RegSTN, RandomCrops])
def test_a_size_that_leaves_nothing_is_refused(build: Callable[..., CropNet]):
    with pytest.raises(ArmError, match=rf"{build.__name__}: size \(64, 31\); give 32 or more"):
        build(size=(64, 31))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_transform_is_refused_with_those_there_are():
    with pytest.raises(ArmError, match="no transform 'rigid'; use 'full' or 'fixed scale'"):
        RegSTN(transform="rigid")


@pytest.mark.parametrize("sides", [(0.75, 0.5), (0.0, 0.5), (0.5, 1.1), (math.nan, 0.5)])
def test_sides_that_do_not_fit_into_each_other_are_refused(sides: tuple[float, float]):
    with pytest.raises(ArmError, match="give the small one first"):
        RandomCrops(sides=sides)
