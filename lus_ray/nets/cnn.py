"""FrameCNN: twelve convolutions that score a frame.

Source: Roy et al. 2020, "Deep learning for classification and localization of COVID-19 markers
in point-of-care lung ultrasound", section IV-A, in the released sizes: 766,372 parameters.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError

STRIDE = 32
"""Five halvings: images of this side have maps of 1 x 1."""


class ConvTrunk(nn.Sequential):
    """Six blocks of two convolutions: (N, 3, H, W) to (N, 4 width, H // 32, W // 32).

    `num_channels` is the channels of the maps. 731,808 parameters for a width of 32.
    """

    def __init__(self, width: int = 32) -> None:
        widths = (width, 2 * width, 2 * width, 2 * width, 4 * width, 4 * width)
        starts = (3, *widths[:-1])
        blocks = [_block(start, end) for start, end in zip(starts, widths, strict=True)]
        for block in blocks[:5]:
            block.add_module("pool", nn.MaxPool2d(2))
        blocks[4].add_module("dropout", nn.Dropout(0.3))  # only the fifth block has one
        super().__init__(OrderedDict((f"block{n}", block) for n, block in enumerate(blocks, 1)))
        self.num_channels = widths[-1]


class FrameCNN(nn.Module):
    """Colour images to logits of severity.

    `width` is the channels of the first block (32 in the paper); the others scale with it, and
    there are 8 times as many features.
    """

    head_name = "out"

    def __init__(self, num_outputs: int = 4, *, width: int = 32) -> None:
        super().__init__()
        self.num_features = 8 * width
        self.trunk = ConvTrunk(width)
        self.hidden = nn.Linear(self.trunk.num_channels, self.num_features)
        self.norm = nn.BatchNorm1d(self.num_features)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(self.num_features, num_outputs)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """Logits of images in [0, 1]; no mean is subtracted."""
        return self.head(self.features(images))

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        return self.pooled(self.maps(images))

    def maps(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """Maps of the sixth block; raises ArmError for images with a side below 32."""
        if min(images.shape[2:]) < STRIDE:
            height, width = images.shape[2:]
            raise ArmError(f"FrameCNN: images of {height} x {width}; give {STRIDE} or more a side")
        return self.trunk(images)

    def pooled(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D"]:
        return self.dropout(self.relu(self.norm(self.hidden(maps.mean(dim=(2, 3))))))

    def head(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return self.out(features)


def _block(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(num_inputs, num_outputs, 3, padding=1),
            norm1=nn.BatchNorm2d(num_outputs),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(num_outputs, num_outputs, 3, padding=1),
            norm2=nn.BatchNorm2d(num_outputs),
            relu2=nn.ReLU(inplace=True),
        )
    )
