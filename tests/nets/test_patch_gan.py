"""Parts of SIFA: published layers and sizes, and ranges of images."""

import pytest
import torch
from torch import nn

from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter
from lus_ray.nets.patch_gan import PatchDiscriminator, SifaDecoder, SifaGenerator


def test_images_of_256_x_256_have_35_x_35_patches():
    with torch.device("meta"):
        generated = SifaGenerator()(torch.zeros(2, 3, 256, 256))
        assert generated.shape == (2, 1, 256, 256)
        latent = SifaSegmenter(2, num_channels=1).encode(generated)
        assert latent.shape == (2, 512, 32, 32)
        reconstructed = SifaDecoder()(latent, generated)
        assert reconstructed.shape == (2, 1, 256, 256)
        assert PatchDiscriminator(num_outputs=2)(reconstructed).shape == (2, 2, 35, 35)


def test_a_patch_has_70_x_70_pixels():
    net = PatchDiscriminator(width=1)
    for name, module in net.layers.named_children():
        if isinstance(module, nn.InstanceNorm2d):  # it would make every output depend on all pixels
            setattr(net.layers, name, nn.Identity())
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    images = torch.ones(1, 1, 256, 256, requires_grad=True)
    net(images)[0, 0, 17, 17].backward()
    pixels = images.grad[0, 0].nonzero()
    assert (pixels.amax(0) - pixels.amin(0) + 1).tolist() == [70, 70]


def test_a_discriminator_normalises_all_layers_but_the_first_and_the_last():
    layers = PatchDiscriminator(width=1).layers
    layer = ["Conv2d", "InstanceNorm2d", "LeakyReLU"]
    kinds = [type(module).__name__ for module in layers]
    assert kinds == ["Conv2d", "LeakyReLU", *layer, *layer, *layer, "Conv2d"]
    assert {m.negative_slope for m in layers if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("kind", [SifaGenerator, SifaDecoder, PatchDiscriminator])
def test_normalisations_and_first_weights_are_those_of_the_release(kind: type[nn.Module]):
    torch.manual_seed(0)
    net = kind(width=8)
    norms = [module for module in net.modules() if isinstance(module, nn.InstanceNorm2d)]
    values = {(norm.eps, norm.affine, norm.track_running_stats) for norm in norms}
    assert values == {(1e-6, True, False)}
    for name, parameter in net.named_parameters():
        std = 0.01 if kind is SifaDecoder and ".body." in name else 0.02
        if parameter.dim() == 4:
            assert 1.8 * std < parameter.abs().max() <= 2 * std, name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name


def test_without_layers_the_output_is_the_image():
    generator, decoder = SifaGenerator(width=2), SifaDecoder(8, width=2)
    for net in (generator, decoder):
        for parameter in net.layers[-1].parameters():
            nn.init.zeros_(parameter)
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    assert torch.equal(generator(images), images[:, :1].tanh())
    assert torch.equal(decoder(torch.rand(2, 8, 2, 3), images[:, :1]), images[:, :1].tanh())


@pytest.mark.parametrize("gain", [0.0, 1.0, 100.0])
def test_generated_images_are_finite_and_between_minus_one_and_one(gain: float):
    torch.manual_seed(0)
    images = (torch.rand(2, 3, 16, 24) * 2 - 1) * gain
    generated = SifaGenerator(width=2, num_units=1)(images)
    latent = SifaSegmenter(2, width=2).encode(images)
    reconstructed = SifaDecoder(64, width=2, num_units=1)(latent, generated)
    for result in (generated, reconstructed):
        assert result.shape == (2, 1, 16, 24)
        assert result.abs().max() <= 1  # also false for NaN


@pytest.mark.parametrize(
    ("latent_size", "size", "message"),
    [
        ((2, 3), (16, 16), "latent maps of 2 x 3 .* give those of the same images, 2 x 2"),
        ((2, 2), (12, 16), "images of 12 x 16; give sides that are multiples of 8, such as 16 x"),
    ],
)
def test_a_decoder_refuses_other_sizes(latent_size: tuple, size: tuple, message: str):
    with pytest.raises(ArmError, match=f"SifaDecoder: {message}"):
        SifaDecoder(8, width=1)(torch.zeros(1, 8, *latent_size), torch.zeros(1, 1, *size))
