"""U-Net++ twice: as released for marker segmentation, and nested as in its paper.

Sources: Roy et al. 2020, section IV-C, in the released form; Zhou et al. 2018, "UNet++: a nested
U-Net architecture for medical image segmentation", in the form of segmentation_models.pytorch.
Why two: the released decoder sends every level to all finer ones, but has no nodes in between.
Both pad images with zeros to multiples of 32 and crop the logits.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError
from lus_ray.nets.dropout import Dropout
from lus_ray.nets.encoder import ResNetEncoder
from lus_ray.nets.segmenter import (
    Images,
    PixelLogits,
    Segmenter,
    Size,
    Stem,
    crop_to_size,
    pad_to_multiple,
)

MULTIPLE = 32

LeakyReLU = partial(nn.LeakyReLU, 0.1)


class ReleasedUNetPlusPlus(Segmenter):
    """Colour images in [-1, 1] to logits: a ResNet-50 of three stages under a dense-skip decoder.

    `width` is the channels of the encoder's first stage, a multiple of 8 (others raise ArmError);
    the decoder's finest level has an eighth of them. `dropout` acts in the middle and on the two
    coarse levels, half of it on the finer ones and before the output. 16,490,925 parameters for 5
    outputs; the released file has 15,296 more, biases that normalisations cancel. Its encoder
    expects BGR without the mean but got images in [-1, 1]; so does this one.
    """

    def __init__(self, num_outputs: int = 5, *, width: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ArmError(f"ReleasedUNetPlusPlus: width {width}; give a multiple of 8")
        self.encoder = ResNetEncoder("resnet50", width=width, num_stages=3)
        num_skips = self.encoder.num_channels  # of levels 1 to 4
        finest = width // 8
        widths = [finest << level for level in range(5)]  # of levels 0 to 4
        deepest = 32 * finest
        self.middle = nn.Sequential(
            Dropout(dropout),
            nn.Conv2d(num_skips[-1], deepest, 3, padding=1),
            LeakyResidual(deepest),
            LeakyResidual(deepest),
            LeakyReLU(),
        )
        below = (*widths[1:], deepest)
        self.rises = nn.ModuleList(_rise(below[n], widths[n], max(n, 1)) for n in range(5))
        joined = [widths[0]] + [sum(widths[n:]) + num_skips[n - 1] for n in range(1, 5)]
        self.decoder = nn.ModuleList(
            nn.Sequential(
                Dropout(dropout if n > 2 else dropout / 2, inplace=True),
                nn.Conv2d(joined[n], widths[n], 3, padding=1),
                LeakyResidual(widths[n]),
                LeakyReLU(),
            )
            for n in range(5)
        )
        self.dropout = Dropout(dropout / 2, inplace=True)
        self.out = nn.Conv2d(widths[0], num_outputs, 1)
        for part in (self.middle, self.rises, self.decoder, self.out):
            part.apply(_initialise_as_keras)

    def stem(self, images: Images) -> Stem:
        maps = self.encoder(pad_to_multiple(images, MULTIPLE))
        return (*maps, functional.max_pool2d(maps[-1], 2))

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        *maps, pooled = stem
        inputs: list[list[Tensor]] = [[], *([skip] for skip in maps)]  # by level
        x = self.middle(pooled)
        for n in reversed(range(5)):
            for steps, enlarge in enumerate(self.rises[n].children()):
                x = enlarge(x)
                inputs[n - steps].append(x)
            x = self.decoder[n](torch.cat(inputs[n], dim=1))
        return crop_to_size(self.out(self.dropout(x)), size, MULTIPLE)


class UNetPlusPlus(Segmenter):
    """Normalised colour images to logits: a ResNet under nested, densely joined decoder nodes.

    `encoder` is "resnet18", "resnet34" or "resnet50", `width` the channels of its first stage; for
    64 the decoder has 256, 128, 64, 32, 16. `dropout` acts before the last layer; the reference
    has none.

    Raises:
        ArmError: unknown encoder, or `width` is no multiple of 4.
    """

    def __init__(
        self, num_outputs: int, *, encoder: str = "resnet50", width: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ArmError(f"UNetPlusPlus: width {width}; give a multiple of 4")
        self.encoder = ResNetEncoder(encoder, width=width)
        maps = self.encoder.num_channels[::-1]  # the coarsest first, as everywhere below
        widths = (4 * width, 2 * width, width, width // 2, width // 4)
        nodes = {}
        for column in range(4):
            skip = maps[column + 1]
            for start in range(1, column + 1):
                num_skips = column + 1 - start
                nodes[f"{start}_{column}"] = _node(maps[column] + num_skips * skip, skip)
            below = maps[0] if column == 0 else widths[column - 1]
            nodes[f"0_{column}"] = _node(below + (column + 1) * skip, widths[column])
        nodes["0_4"] = _node(widths[3], widths[4])
        self.nodes = nn.ModuleDict(nodes)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.out = nn.Conv2d(widths[4], num_outputs, 3, padding=1)
        for module in self.nodes.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        _initialise_as_keras(self.out)

    def stem(self, images: Images) -> Stem:
        """Node "i_j" begins at map i and has risen to the size of map j + 1."""
        maps = self.encoder(pad_to_multiple(images, MULTIPLE))[::-1]
        outputs: dict[tuple[int, int], Tensor] = {}
        for column in range(4):
            same_size = [maps[column + 1]]
            for start in range(column, -1, -1):
                below = maps[column] if start == column else outputs[start, column - 1]
                x = self.nodes[f"{start}_{column}"](torch.cat([_doubled(below), *same_size], dim=1))
                outputs[start, column] = x
                same_size.append(x)
        return (self.nodes["0_4"](_doubled(outputs[0, 3])),)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        return crop_to_size(self.out(self.dropout(stem[0])), size, MULTIPLE)


class LeakyResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.branch = nn.Sequential(LeakyReLU(), first, LeakyReLU(), second)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        return x + self.branch(x)


def _rise(num_inputs: int, width: int, num_steps: int) -> nn.ModuleList:
    starts = (num_inputs, *[width] * (num_steps - 1))
    return nn.ModuleList(nn.ConvTranspose2d(start, width, 3, 2, 1, 1) for start in starts)


def _node(num_inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for start in (num_inputs, width):
        conv = nn.Conv2d(start, width, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2, mode="nearest")


def _initialise_as_keras(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
