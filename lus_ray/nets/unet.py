"""U-Net, with and without batch normalisation, and with dropout for B-lines.

Source: Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image
segmentation", with padded convolutions, so that nothing is cropped. Two settings:
64 to 1024 channels for dense labels of lung ultrasound, and Mason et al. 2021 with
`widths=(16, 32, 64, 128), dropout=0.5, bias=True` for B-lines.
"""

from collections.abc import Sequence

import torch
from torch import nn

from lus_ray.errors import ArmError
from lus_ray.nets.dropout import Dropout
from lus_ray.nets.segmenter import Images, PixelLogits, Segmenter, Size, Stem, check_size


class UNet(Segmenter):
    """Two 3 x 3 convolutions a level, with skip connections.

    `widths` are the channels per level; the sides of images are multiples of 2 to the number of
    halvings (16 for five levels). Batch normalisation (if `batch_norm`), ReLU and `dropout` follow
    each convolution. `bias` is redundant beside the normalisation; the published count of Mason
    et al. includes it. Parameters: 31,036,871 for 7 classes, 31,030,983 without normalisation;
    483,153 for the single output of Mason et al. Fewer than two levels or a dropout outside [0, 1)
    raise ArmError.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        num_channels: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        batch_norm: bool = True,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ArmError(f"UNet: widths {tuple(widths)}; give two levels or more")
        if not 0 <= dropout < 1:
            raise ArmError(f"UNet: dropout {dropout}; give 0 or more, and less than 1")

        def level(num_inputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(
                _unit(num_inputs, width, batch_norm=batch_norm, bias=bias),
                Dropout(dropout) if dropout else nn.Identity(),
                _unit(width, width, batch_norm=batch_norm, bias=bias),
                Dropout(dropout) if dropout else nn.Identity(),
            )

        starts = (num_channels, *widths[:-1])
        self.descent = nn.ModuleList(map(level, starts, widths))
        rising = widths[-2::-1]
        self.rises = nn.ModuleList(
            nn.ConvTranspose2d(below, width, 2, stride=2)
            for below, width in zip(widths[:0:-1], rising, strict=True)
        )
        self.ascent = nn.ModuleList(level(2 * width, width) for width in rising)
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Conv2d(widths[0], num_outputs, 1)
        self.multiple = 2 ** len(self.rises)
        _initialise(self)

    def stem(self, images: Images) -> Stem:
        """Raise ArmError unless the sides of the images are multiples of `self.multiple`."""
        check_size(self, images, self.multiple)
        first: nn.Sequential = self.descent[0]  # type: ignore[assignment]
        return (first[0](images),)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        first: nn.Sequential = self.descent[0]  # type: ignore[assignment]
        x = first[1:](stem[0])
        skips = []
        for level in self.descent[1:]:
            skips.append(x)
            x = level(self.pool(x))
        for rise, level in zip(self.rises, self.ascent, strict=True):
            x = level(torch.cat([skips.pop(), rise(x)], dim=1))
        return self.out(x)


def _unit(num_inputs: int, width: int, *, batch_norm: bool, bias: bool) -> nn.Sequential:
    convolution = nn.Conv2d(num_inputs, width, 3, padding=1, bias=bias or not batch_norm)
    normalisation = [nn.BatchNorm2d(width)] if batch_norm else []
    return nn.Sequential(convolution, *normalisation, nn.ReLU(inplace=True))


def _initialise(net: UNet) -> None:
    """Draw from N(0, 2 / fan-in) in front of every ReLU, as in section 3 of the paper."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module is not net.out:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
