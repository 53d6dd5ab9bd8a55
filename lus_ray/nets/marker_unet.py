"""MarkerUNet: the small U-Net that segments the markers of the four severity scores.

Source: Roy et al. 2020, section IV-C, in the released sizes: 590,757 parameters.
Why the convolution that joins two paths is two convolutions: it is linear, so that Monte Carlo
dropout computes the part that no dropout changes only once, which makes sampling twice as fast.
"""

from itertools import pairwise
from math import prod, sqrt

import torch
from torch import nn
from torch.nn import functional

from lus_ray.nets.dropout import Dropout
from lus_ray.nets.segmenter import Images, PixelLogits, Segmenter, Size, Stem, check_size

POOLS = (2, 2, 5)
"""Images of 200 x 260 shrink to 100 x 130, 50 x 65 and 10 x 13."""

CUT = 0.8796256610342398
"""Standard deviation of a standard normal truncated at -2 and 2."""


class MarkerUNet(Segmenter):
    """Colour images in [-1, 1] to logits of background and the scores 0 to 3; no normalisation.

    `width` is the channels of the first level (16 in the paper); the others scale with it. The
    sides of the images are multiples of 20. The only dropout is in the bottleneck.
    """

    def __init__(self, num_outputs: int = 5, *, width: int = 16) -> None:
        super().__init__()
        w1, w2, w3 = width, 2 * width, 4 * width
        descent = (((3, w1, w1), 3), ((w1, w2, w2), 5), ((w2, w3, w3), 5))
        ascent = (((w3, w2), 5), ((w2, w1), 3), ((w1, w1, w1), 3))
        self.descent = nn.ModuleList(_convolutions(*level) for level in descent)
        self.latent1 = _convolutions((w3, w3), 3)
        self.dropout = Dropout(0.5)
        self.latent2 = _convolutions((w3, w3), 3)
        joins = ((w3, 5), (w2, 5), (w1, 3))  # width and kernel of the convolution of two paths
        self.across = nn.ModuleList(_convolution(w, w, kernel) for w, kernel in joins)
        self.below = nn.ModuleList(_convolution(w, w, kernel, bias=False) for w, kernel in joins)
        self.ascent = nn.ModuleList(_convolutions(*level) for level in ascent)
        self.out = nn.Conv2d(w1, num_outputs, 3, padding=1)
        _initialise(self)

    def stem(self, images: Images) -> Stem:
        """Raise ArmError unless the sides of the images are multiples of 20."""
        check_size(self, images, prod(POOLS))
        x, kept = images, []
        for level, across, pool in zip(self.descent, reversed(self.across), POOLS, strict=True):
            x = level(x)
            kept.append(across(x))
            x = functional.max_pool2d(x, pool)
        return (*kept, self.latent1(x))

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        *kept, latent = stem
        x = self.latent2(self.dropout(latent))
        for below, level, pool in zip(self.below, self.ascent, reversed(POOLS), strict=True):
            x = functional.interpolate(x, scale_factor=pool, mode="nearest")
            x = level(torch.relu(below(x) + kept.pop()))
        return self.out(x)


def _convolutions(widths: tuple[int, ...], kernel: int) -> nn.Sequential:
    # The released ones of the way up are transposed with stride 1: the same with kernels turned.
    layers: list[nn.Module] = []
    for start, end in pairwise(widths):
        layers += [_convolution(start, end, kernel), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _convolution(num_inputs: int, width: int, kernel: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(num_inputs, width, kernel, padding=kernel // 2, bias=bias)


def _initialise(net: MarkerUNet) -> None:
    """He-normal as in Keras: truncated at two deviations; fan-out for transposed convolutions."""
    way_up = {*net.across.modules(), *net.below.modules(), *net.ascent.modules()}
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.out_channels if module in way_up else module.in_channels
            std = sqrt(2 / (fan * prod(module.kernel_size))) / CUT
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
