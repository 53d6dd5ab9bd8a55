"""ResNet: the published sizes and torchvision's names."""

import pytest
import torch

from lus_ray.nets import resnet18, resnet50


def test_names_are_those_of_torchvision():
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{part}" for part in norm)}
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            for layer in (1, 2):
                expected.add(f"layer{stage}.{block}.conv{layer}.weight")
                expected.update(f"layer{stage}.{block}.bn{layer}.{part}" for part in norm)
        if stage > 1:
            expected.add(f"layer{stage}.0.downsample.0.weight")
            expected.update(f"layer{stage}.0.downsample.1.{part}" for part in norm)
    assert set(resnet18().state_dict()) == expected
    assert "layer1.0.downsample.0.weight" in resnet50().state_dict()


def test_images_shrink_by_32():
    net = resnet18(width=8)
    sizes = []
    net.layer4.register_forward_hook(lambda _, __, out: sizes.append(out.shape))
    net(torch.zeros(2, 3, 224, 160))
    assert sizes == [(2, 64, 7, 5)]


def test_convolutions_begin_at_the_variance_of_he():
    weight = resnet18().layer3[0].conv2.weight  # 256 outputs of 3 x 3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
