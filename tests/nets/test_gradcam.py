"""Grad-CAM of a network that can be computed by hand, and of the real ones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lus_ray.errors import InputError
from lus_ray.nets import resnet18
from lus_ray.nets.cnn import FrameCNN
from lus_ray.nets.gradcam import bounding_box, grad_cam
from tests.nets.conftest import SIZE


class Colours(nn.Module):
    """Its maps are the colours; red supports class 0, green class 1, and red opposes class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]))

    def maps(self, images: Tensor) -> Tensor:
        return images.clone()

    def pooled(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))

    def head(self, features: Tensor) -> Tensor:
        return features @ self.weight.T


NETS: dict[str, Callable[[], nn.Module]] = {
    "FrameCNN": lambda: FrameCNN(5, width=4),
    "resnet18": lambda: resnet18(5, width=4),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NETS[request.param]()


def colours(*pixels: tuple[float, float]) -> Tensor:
    """One image (1, 3, 1, W) of pixels (red, green)."""
    return torch.tensor([[*pixel, 0.0] for pixel in pixels]).T[None, :, None]


@pytest.mark.parametrize(
    ("pixels", "label", "heat"),
    [
        ([(0.0, 0.0), (0.2, 0.4), (0.0, 0.8), (0.4, 0.0)], 0, [0, 0.5, 0, 1]),
        ([(0.0, 0.0), (0.2, 0.4), (0.0, 0.8), (0.4, 0.0)], 1, [0, 0.25, 1, 0]),
        ([(0.5, 0.0), (1.0, 0.0)], 1, [0, 0]),
        ([(1.0, 0.0), (0.5, 0.0)], None, [1, 0.5]),
        ([(0.0, 1.0), (0.25, 0.5)], None, [1, 0.25]),
    ],
)
def test_heat_is_the_evidence_for_a_class_or_the_predicted_one(pixels, label, heat):
    classes = None if label is None else torch.tensor([label])
    assert_close(grad_cam(Colours(), colours(*pixels), classes), torch.tensor([[heat]]).float())


def test_heat_has_the_size_of_the_images_and_a_maximum_of_one(net: nn.Module, images: Tensor):
    heat = grad_cam(net, images)
    assert heat.shape == (3, *SIZE)
    assert not heat.requires_grad
    assert heat.min() >= 0
    highest = heat.amax(dim=(1, 2))
    assert ((highest == 0) | (highest == 1)).all()
    assert (highest == 1).any()
    single = torch.cat([grad_cam(net, images[i : i + 1]) for i in range(3)])
    assert_close(heat, single, atol=1e-4, rtol=1e-4)


def test_the_network_is_left_as_it_was(net: nn.Module, images: Tensor):
    net.train()
    frozen = next(part for part in net.modules() if isinstance(part, nn.BatchNorm2d))
    frozen.eval()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    grad_cam(net, images)
    assert [part for part in net.modules() if not part.training] == [frozen]
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert all((parameter.grad == 1).all() for parameter in net.parameters())


def test_callers_without_gradients_and_frozen_networks_get_the_same(net: nn.Module, images: Tensor):
    expected = grad_cam(net, images)
    with torch.inference_mode():
        assert_close(grad_cam(net, images.clone()), expected)
    with torch.no_grad():
        assert_close(grad_cam(net, images), expected)
    assert_close(grad_cam(net.requires_grad_(False), images), expected)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_class_that_is_no_output_is_refused_and_the_mode_restored(label: int):
    net = Colours().train()
    with pytest.raises(InputError, match=f"class {label} of a network with 2 outputs; use 0 to 1"):
        grad_cam(net, colours((1.0, 0.0)), torch.tensor([label]))
    assert net.training


def test_for_a_linear_head_on_the_mean_it_is_the_class_activation_map(images: Tensor):
    torch.manual_seed(0)
    net = resnet18(5, width=4).eval()
    with torch.no_grad():
        activation = torch.einsum("c,nchw->nhw", net.fc.weight[3], net.maps(images)).relu()
    expected = nn.functional.interpolate(activation[:, None], SIZE, mode="bilinear")[:, 0]
    highest = expected.amax(dim=(1, 2), keepdim=True)
    assert (highest > 0).all()
    assert_close(grad_cam(net, images, torch.full((3,), 3)), expected / highest)


def test_the_box_is_around_the_largest_hot_region():
    heat = np.zeros((4, 10), np.float32)
    heat[0, 0] = 1.0
    heat[1:3, 5:9] = 0.5
    heat[3, 9] = 0.9  # touches the region by a corner only
    heat[1, 4] = 0.4
    assert bounding_box(heat) == bounding_box(5 * heat) == (0.5, 0.25, 0.9, 0.75)
    assert bounding_box(torch.from_numpy(heat)) == (0.5, 0.25, 0.9, 0.75)
    assert bounding_box(heat, threshold=0.95) == (0, 0, 0.1, 0.25)
    assert bounding_box(np.zeros((2, 3))) is None


@pytest.mark.parametrize(
    ("hottest", "threshold", "message"),
    [(value, 0.5, "negative or infinite") for value in (np.nan, np.inf, -1.0)]
    + [(1.0, threshold, "above 0, at most 1") for threshold in (0.0, 1.5)],
)
def test_a_box_of_invalid_heat_or_threshold_is_refused(hottest, threshold, message: str):
    with pytest.raises(InputError, match=message):
        bounding_box(np.array([[0.5, hottest]]), threshold)
