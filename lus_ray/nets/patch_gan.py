"""SIFA's generator, decoder and patch discriminators.

Letters: L channels of the latent maps, J outputs of a patch.
Sources: those of `lus_ray.nets.sifa`; the discriminator is the 70 x 70 PatchGAN of Isola et al.
2017, "Image-to-image translation with conditional adversarial networks".
Differences from the release: its residual units of the decoder always drop a quarter of their
maps, even in evaluation, so that a cycle could never close; here nothing is dropped. TensorFlow
pads a convolution of stride 2 at the end only, here padding is symmetric: a shift of less than a
pixel. Biases are where the release has them, though a normalisation cancels them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.segmenter import check_size
from lus_ray.nets.sifa import STRIDE, ResidualUnit, initialise


class SifaGenerator(nn.Module):
    """Generator (G): images of the source domain to images of the target domain.

    2,852,673 parameters with three channels, 2,849,537 with one. The sides of images are multiples
    of 8; other sides and a width below 1 raise ArmError.
    """

    def __init__(self, num_channels: int = 3, width: int = 32, num_units: int = 9) -> None:
        super().__init__()
        w1, w2, w4 = _widths(self, width)
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(num_channels, w1, 7, padding=3)),
            *_normalised(nn.Conv2d(w1, w2, 3, stride=2, padding=1)),
            *_normalised(nn.Conv2d(w2, w4, 3, stride=2, padding=1)),
            *(_residual(w4, bias=True) for _ in range(num_units)),
            *_normalised(_doubling(w4, w2)),
            *_normalised(_doubling(w2, w1)),
            nn.Conv2d(w1, 1, 7, padding=3),
        )
        initialise(self, std=0.02)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1 H W"]:
        """Images in [-1, 1], as a change of their first channel."""
        check_size(self, images, STRIDE)
        return torch.tanh(images[:, :1] + self.layers(images))


class SifaDecoder(nn.Module):
    """Decoder (U): target images and their latent maps to images of the source domain.

    `num_inputs` are the channels of the latent maps, 32 times the width of the encoder.
    1,902,848 parameters. A width below 1 raises ArmError.
    """

    def __init__(self, num_inputs: int = 512, width: int = 32, num_units: int = 4) -> None:
        super().__init__()
        w1, w2, w4 = _widths(self, width)
        enter = nn.Conv2d(num_inputs, w4, 3, padding=1, bias=False)
        units = [_residual(w4, bias=False) for _ in range(num_units)]
        self.layers = nn.Sequential(
            *(*_normalised(enter), *units),
            *_normalised(_doubling(w4, w2)),
            *_normalised(_doubling(w2, w2)),
            *_normalised(_doubling(w2, w1)),
            nn.Conv2d(w1, 1, 7, padding=3, bias=False),
        )
        initialise(self, std=0.02)
        for unit in units:
            initialise(unit, std=0.01)

    def forward(
        self, latent: Float[Tensor, "N L h w"], images: Float[Tensor, "N 1 H W"]
    ) -> Float[Tensor, "N 1 H W"]:
        """Images in [-1, 1], as a change of images with 8 times the sides of the latent maps."""
        check_size(self, images, STRIDE)
        (h, w), (height, width) = latent.shape[-2:], images.shape[-2:]
        if (STRIDE * h, STRIDE * w) != (height, width):
            raise ArmError(
                f"SifaDecoder: latent maps of {h} x {w} for images of {height} x {width}; "
                f"give those of the same images, {height // STRIDE} x {width // STRIDE}"
            )
        return torch.tanh(images + self.layers(latent))


class PatchDiscriminator(nn.Module):
    """Discriminator (D): a logit of being real for each patch of 70 x 70.

    Inputs are images of any size, or logits of a segmenter. A second output is SIFA's auxiliary
    head for source images. 2,763,520 parameters, 1,024 more for each further input, 8,192 more for
    each further output. A width below 1 raises ArmError.
    """

    def __init__(self, num_inputs: int = 1, num_outputs: int = 1, width: int = 64) -> None:
        super().__init__()
        w1, w2, w4 = _widths(self, width)
        slope = 0.2
        self.layers = nn.Sequential(
            # The article normalises the first layer as well; the released code does not.
            *(_patches(num_inputs, w1, stride=2), nn.LeakyReLU(slope, inplace=True)),
            *_normalised(_patches(w1, w2, stride=2), slope=slope),
            *_normalised(_patches(w2, w4, stride=2), slope=slope),
            *_normalised(_patches(w4, 2 * w4, stride=1), slope=slope),
            _patches(2 * w4, num_outputs, stride=1),
        )
        initialise(self, std=0.02)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N J h w"]:
        """Outputs by patch, 35 x 35 for an image of 256 x 256."""
        return self.layers(images)


def _widths(net: nn.Module, width: int) -> tuple[int, int, int]:
    if width < 1:
        raise ArmError(f"{type(net).__name__}: width {width}; give 1 or more")
    return width, 2 * width, 4 * width


def _normalised(conv: nn.Conv2d | nn.ConvTranspose2d, *, slope: float = 0.0) -> list[nn.Module]:
    relu = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    return [conv, _normalisation(conv.out_channels), relu]


def _residual(width: int, *, bias: bool) -> ResidualUnit:
    first, second = (nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(2))
    return ResidualUnit(*_normalised(first), second, _normalisation(width))


def _normalisation(width: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(width, eps=1e-6, affine=True)


def _doubling(num_inputs: int, width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(num_inputs, width, 3, stride=2, padding=1, output_padding=1)


def _patches(num_inputs: int, width: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(num_inputs, width, 4, stride=stride, padding=2, bias=False)
