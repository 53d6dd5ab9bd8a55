"""SIFA's segmenter, whose encoder also serves the decoder of source images.

Letters: L, h and w channels, rows and columns of the latent maps.
Source: Chen et al. 2019, "Synergistic image and feature adaptation" (AAAI; version 1), and 2020,
"Unsupervised bidirectional cross-modality adaptation" (TMI; version 2), in the released form.
Mason et al. 2021 trains it to segment B-lines. Version 1 is the default: the grey image three
times, and dropout. Version 2 is `num_channels=1, dropout=0, deep=True`.
Differences from the release: TensorFlow 1 enlarges maps from their corner, here by their centres,
a shift of 3.5 image pixels down and right; biases of the dilated convolutions, created but never
added, are omitted.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError
from lus_ray.nets.dropout import Dropout
from lus_ray.nets.segmenter import Images, PixelLogits, Segmenter, Size, Stem, check_size

STRIDE = 8
"""A latent map has one pixel for 8 x 8 of the image; sides of images are multiples of it."""


class SifaSegmenter(Segmenter):
    """Encoder (E) and head (C): a dilated residual network of stride 8, enlarged bilinearly.

    Images lie in [-1, 1]. Channels grow from `width` to 32 times as many. `dropout`, batch
    normalisation and ReLU follow a convolution, `dropout` follows the head. With `deep` a second
    head takes the maps before the dilated units; `forward` does not use it. Parameters of the
    encoder: 27,518,992 with three channels, 27,517,424 with one; of a head: 512 for each output. A
    width below 1 or a dropout outside [0, 1) raises ArmError.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        num_channels: int = 3,
        width: int = 16,
        dropout: float = 0.25,
        deep: bool = False,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ArmError(f"SifaSegmenter: width {width}; give 1 or more")
        if not 0 <= dropout < 1:
            raise ArmError(f"SifaSegmenter: dropout {dropout}; give 0 or more, and less than 1")
        widths = [width * 2**level for level in range(6)]
        last = widths[-1]
        self.first = _convolution(num_channels, width, 7)
        self.descent = nn.Sequential(*_after(width, dropout), *_descent(widths, dropout))
        self.dilated = nn.Sequential(
            *(_residual(last, last, dropout=dropout, dilation=2) for _ in range(2)),
            *(_convolution(last, last, 3), *_after(last, dropout)),
            *(_convolution(last, last, 3), *_after(last, dropout)),
        )
        self.dropout = _dropout(dropout)
        self.deep_out = _convolution(last, num_outputs, 1) if deep else None
        self.out = _convolution(last, num_outputs, 1)
        initialise(self, std=0.01)

    def encode(
        self, images: Float[Tensor, "N C H W"]
    ) -> Float[Tensor, "N L h w"] | tuple[Float[Tensor, "N L h w"], Float[Tensor, "N L h w"]]:
        """The latent maps; with `deep` also the maps of the second head. Raises as `stem`."""
        deep = self.descent(*self.stem(images))
        latent = self.dilated(deep)
        return latent if self.deep_out is None else (latent, deep)

    def decide(self, latent: Float[Tensor, "N L h w"], size: Size) -> PixelLogits:
        return _enlarged(self.dropout(self.out(latent)), size)

    def decide_deep(self, deep: Float[Tensor, "N L h w"], size: Size) -> PixelLogits:
        """Logits of the second head; raises ArmError unless the network is `deep`."""
        if self.deep_out is None:
            raise ArmError("SifaSegmenter: no second head; build it with deep=True")
        return _enlarged(self.dropout(self.deep_out(deep)), size)

    def stem(self, images: Images) -> Stem:
        """Raise ArmError unless the sides of the images are multiples of 8."""
        check_size(self, images, STRIDE)
        return (self.first(images),)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        return self.decide(self.dilated(self.descent(*stem)), size)


class ResidualUnit(nn.Module):
    """A body beside the identity, then ReLU.

    For a wider body, `num_added` zero channels surround the identity, the odd one behind it.
    """

    def __init__(self, *body: nn.Module, num_added: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.margins = (num_added // 2, num_added - num_added // 2)

    def forward(self, maps: Float[Tensor, "N _ h w"]) -> Float[Tensor, "N _ h w"]:
        identity = functional.pad(maps, (0, 0, 0, 0, *self.margins)) if any(self.margins) else maps
        return functional.relu(identity + self.body(maps), inplace=True)


def initialise(net: nn.Module, *, std: float) -> None:
    """Draw convolutions from a normal truncated at two deviations; set their biases to 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _descent(widths: list[int], dropout: float) -> list[nn.Module]:
    w1, w2, w4, w8, w16, w32 = widths

    def units(*widths: int) -> list[nn.Module]:
        return [_residual(*pair, dropout=dropout) for pair in pairwise(widths)]

    return [
        *(*units(w1, w1), nn.MaxPool2d(2)),
        *(*units(w1, w2), nn.MaxPool2d(2)),
        *(*units(w2, w4, w4), nn.MaxPool2d(2)),
        *units(w4, w8, w8, w16, w16, w16, w16, w32, w32),
    ]


def _residual(num_inputs: int, width: int, *, dropout: float, dilation: int = 1) -> ResidualUnit:
    return ResidualUnit(
        *(_convolution(num_inputs, width, 3, dilation=dilation), *_after(width, dropout)),
        *(_convolution(width, width, 3, dilation=dilation), *_after(width, dropout)[:-1]),
        num_added=width - num_inputs,
    )


def _convolution(num_inputs: int, width: int, kernel: int, *, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(num_inputs, width, kernel, padding=padding, dilation=dilation, bias=False)


def _after(width: int, dropout: float) -> list[nn.Module]:
    # TensorFlow's decay 0.9 is torch's default momentum 0.1.
    return [_dropout(dropout), nn.BatchNorm2d(width, eps=1e-3), nn.ReLU(inplace=True)]


def _dropout(dropout: float) -> nn.Module:
    return Dropout(dropout) if dropout else nn.Identity()


def _enlarged(logits: Tensor, size: Size) -> Tensor:
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
