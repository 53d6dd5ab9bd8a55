"""DeepLabv3+, released and canonical: pyramid, normalisation, resizing."""

import torch
from torch import nn

from lus_ray.nets import DeepLabV3Plus, ReleasedDeepLab


def test_released_normalisations_are_those_of_the_file():
    net = ReleasedDeepLab(width=8)
    settings = {
        (name.split(".")[0] == "encoder", module.eps, module.momentum)
        for name, module in net.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert settings == {(True, 1e-3, 0.001), (False, 1e-5, 0.01)}


def test_shapes_of_the_stems():
    with torch.device("meta"):
        (stem,) = ReleasedDeepLab().stem(torch.zeros(2, 3, 200, 260))
        pyramid, low = DeepLabV3Plus(5).stem(torch.zeros(2, 3, 64, 96))
    assert stem.shape == (2, 256, 25, 33)
    assert pyramid.shape == (2, 256, 4, 6)
    assert low.shape == (2, 48, 16, 24)


def test_logits_are_resized_with_aligned_corners():
    net = ReleasedDeepLab(1, width=8).eval()
    nn.init.ones_(net.out.weight)
    stem = torch.zeros(1, 64, 2, 2)
    stem[0, 0] = torch.tensor([[0.0, 3.0], [6.0, 9.0]])
    with torch.no_grad():
        logits = net.rest((stem,), (4, 4))
    assert torch.allclose(logits[0, 0], torch.arange(4.0) + 2 * torch.arange(4.0)[:, None])


def test_the_pyramid_has_dilations_of_12_24_and_36():
    net = DeepLabV3Plus(2, encoder="resnet18", width=8)
    assert [level[0].dilation[0] for level in net.pyramid] == [1, 12, 24, 36]  # type: ignore[index]


def test_the_mean_of_the_image_connects_distant_pixels():
    torch.manual_seed(0)
    net = ReleasedDeepLab(2, width=8).eval()
    maps: list[torch.Tensor] = []
    net.encoder.register_forward_hook(lambda _, __, out: maps.append(out))
    (stem,) = net.stem(torch.rand(1, 3, 32, 32))
    (gradient,) = torch.autograd.grad(stem[0, :, 0, 0].sum(), maps)
    assert (gradient[0].abs().amax(dim=0) > 0).all()
