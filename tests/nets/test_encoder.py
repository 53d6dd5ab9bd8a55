"""Encoders: torchvision's names, and its weights without the dropped layers."""

import torch
from torch import nn

from lus_ray.nets.encoder import ResNetEncoder, load_encoder
from lus_ray.nets.resnet import resnet18


def test_maps_halve_from_one_to_the_next():
    maps = ResNetEncoder("resnet50", width=4)(torch.zeros(1, 3, 64, 96))
    sizes = [(4, 32, 48), (16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3)]
    assert [m.shape[1:] for m in maps] == sizes
    encoder = ResNetEncoder("resnet18", width=4, num_stages=3)
    maps = encoder(torch.zeros(1, 3, 32, 32))
    assert encoder.num_channels == tuple(m.shape[1] for m in maps) == (4, 4, 8, 16)


def test_the_last_map_is_that_of_the_classifier():
    classifier = resnet18(width=4).eval()
    encoder = ResNetEncoder("resnet18", width=4).eval()
    load_encoder(encoder, classifier.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(images)[-1], classifier.maps(images))


def test_weights_of_dropped_stages_are_skipped():
    state = resnet18(width=4).state_dict()
    encoder = ResNetEncoder("resnet18", width=4, num_stages=3)
    copied = load_encoder(encoder, state)
    assert set(copied) == {n for n in state if not n.startswith(("layer4.", "fc."))}
    assert all(torch.equal(t, state[name]) for name, t in encoder.state_dict().items())


def test_stride_16_keeps_the_size_of_the_last_stage_and_its_field_of_view():
    encoder = ResNetEncoder("resnet18", width=4, output_stride=16)
    maps = encoder(torch.zeros(1, 3, 64, 64))
    assert maps[-1].shape[2:] == maps[-2].shape[2:] == (4, 4)
    strided = ResNetEncoder("resnet18", width=4)
    assert encoder.state_dict().keys() == strided.state_dict().keys()
    for module in encoder.get_submodule("layer4").modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            assert (module.stride, module.dilation) == ((1, 1), (2, 2))
