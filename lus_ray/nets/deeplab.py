"""DeepLabv3+ twice: as released for marker segmentation, and as in its paper.

Sources: Roy et al. 2020, section IV-C, in the released form; Chen et al. 2018, "Encoder-decoder
with atrous separable convolution for semantic image segmentation", in the form of
segmentation_models.pytorch.
Why two: the released network has neither the parallel dilated convolutions nor the decoder that
make a DeepLabv3+. Both take images of any size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError
from lus_ray.nets.dropout import Dropout
from lus_ray.nets.encoder import ResNetEncoder
from lus_ray.nets.mobilenet import MobileNetV2
from lus_ray.nets.segmenter import Images, PixelLogits, Segmenter, Size, Stem

RATES = (12, 24, 36)
"""Dilations of the pyramid."""


class ReleasedDeepLab(Segmenter):
    """Colour images in [-1, 1] to logits: MobileNetV2 at stride 8 and the mean of the image.

    `width` is the channels of the first convolution; the head has 8 times as many. 2,109,445
    parameters for 5 outputs. `momenta` are those of the normalisations of encoder and head; the
    released ones suit thousands of steps, a short run needs larger ones. The released encoder
    began with weights of Pascal VOC; this one takes those of ImageNet. A training batch of one
    image raises ArmError.
    """

    def __init__(
        self,
        num_outputs: int = 5,
        *,
        width: int = 32,
        dropout: float = 0.1,
        momenta: Sequence[float] = (0.001, 0.01),
    ) -> None:
        super().__init__()
        self.encoder = MobileNetV2(width=width, output_stride=8, eps=1e-3, momentum=momenta[0])
        num_inputs, num_channels = self.encoder.num_channels, 8 * width
        self.picture = _unit(num_inputs, num_channels)
        self.pixel = _unit(num_inputs, num_channels)
        self.project = _unit(2 * num_channels, num_channels)
        self.dropout = Dropout(dropout)
        self.out = nn.Conv2d(num_channels, num_outputs, 1)
        for part in (self.picture, self.pixel, self.project, self.out):
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = momenta[1]
                elif isinstance(module, nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def stem(self, images: Images) -> Stem:
        _check_batch(self, images)
        maps = self.encoder(images)
        return (self.project(torch.cat([_average(self.picture, maps), self.pixel(maps)], 1)),)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        return _resized(self.out(self.dropout(stem[0])), size)


class DeepLabV3Plus(Segmenter):
    """Normalised colour images to logits: a ResNet at stride 16, a pyramid of dilations, a decoder.

    `encoder` is "resnet18", "resnet34" or "resnet50", `width` the channels of its first stage; the
    pyramid has 4, the low-level maps in the decoder 3/4 times as many. `dropout` follows the
    pyramid.

    Raises:
        ArmError: unknown encoder, `width` no multiple of 4, or one image in a training batch.
    """

    def __init__(
        self, num_outputs: int, *, encoder: str = "resnet50", width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ArmError(f"DeepLabV3Plus: width {width}; give a multiple of 4")
        self.encoder = ResNetEncoder(encoder, width=width, output_stride=16)
        _, low, *_, high = self.encoder.num_channels
        num_channels, num_low = 4 * width, 3 * width // 4
        self.picture = _unit(high, num_channels)
        self.pyramid = nn.ModuleList(
            [_unit(high, num_channels)] + [_separable(high, num_channels, rate) for rate in RATES]
        )
        self.project = _unit(5 * num_channels, num_channels)
        self.dropout = Dropout(dropout)
        self.refine = _separable(num_channels, num_channels)
        self.low = _unit(low, num_low)
        self.decoder = _separable(num_channels + num_low, num_channels)
        self.out = nn.Conv2d(num_channels, num_outputs, 1)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith(("encoder.", "out")):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def stem(self, images: Images) -> Stem:
        _check_batch(self, images)
        _, low, *_, high = self.encoder(images)
        levels = [level(high) for level in self.pyramid]
        pyramid = self.project(torch.cat([*levels, _average(self.picture, high)], dim=1))
        return pyramid, self.low(low)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        pyramid, low = stem
        x = _resized(self.refine(self.dropout(pyramid)), (low.shape[2], low.shape[3]))
        return _resized(self.out(self.decoder(torch.cat([x, low], dim=1))), size)


def _unit(num_inputs: int, num_outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(num_inputs, num_outputs, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_outputs), nn.ReLU(inplace=True))


def _separable(num_inputs: int, num_outputs: int, rate: int = 1) -> nn.Sequential:
    filters = nn.Conv2d(num_inputs, num_inputs, 3, 1, rate, rate, groups=num_inputs, bias=False)
    return nn.Sequential(filters, *_unit(num_inputs, num_outputs))


def _average(unit: nn.Module, maps: Tensor) -> Tensor:
    return unit(maps.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])


def _resized(maps: Tensor, size: Size) -> Tensor:
    return functional.interpolate(maps, size, mode="bilinear", align_corners=True)


def _check_batch(net: nn.Module, images: Tensor) -> None:
    if net.training and len(images) < 2:
        raise ArmError(
            f"{type(net).__name__}: one image in a training batch, whose mean over the image "
            "cannot be normalised; give batches of two or more and drop a last one of one"
        )
