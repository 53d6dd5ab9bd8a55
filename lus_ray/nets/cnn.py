"""FrameCNN: twelve convolutions that score one frame.

Letters: N images, C channels, H rows, W columns, D features, K outputs; h, w rows and columns
of the maps, H // 32 and W // 32.
Source: Roy et al. 2020, "Deep learning for classification and localization of COVID-19 markers
in point-of-care lung ultrasound", section IV-A, in the released sizes: 766,372 parameters.
Why the pieces are public: a transformer has the same trunk with weights of its own, and Grad-CAM
starts from the maps.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError

STRIDE = 32
"""Five halvings: the side of a picture that leaves one position in the maps."""


class ConvTrunk(nn.Sequential):
    """Six blocks of two convolutions: (N, 3, H, W) to (N, 4 width, H // 32, W // 32).

    `num_channels` is the channels of the maps. 731,808 parameters where `width` is 32.
    """

    def __init__(self, width: int = 32) -> None:
        widths = (width, 2 * width, 2 * width, 2 * width, 4 * width, 4 * width)
        starts = (3, *widths[:-1])
        blocks = [_block(start, end) for start, end in zip(starts, widths, strict=True)]
        for block in blocks[:5]:
            block.add_module("pool", nn.MaxPool2d(2))
        blocks[4].add_module("dropout", nn.Dropout(0.3))  # of all blocks, only the fifth has it
        super().__init__(OrderedDict((f"block{n}", block) for n, block in enumerate(blocks, 1)))
        self.num_channels = widths[-1]


class FrameCNN(nn.Module):
    """Colour images to logits of severity.

    `width` is the channels of the first block (32 in the paper); all others grow with it, and the
    vector before the last layer has 8 times as many numbers.
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
        """Logits of images in [0, 1], as they are: no mean is taken off."""
        return self.head(self.features(images))

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """The vector before the last layer."""
        return self.pooled(self.maps(images))

    def maps(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """What the sixth block sees, before the mean over the picture.

        Raises:
            ArmError: the picture is too small for five halvings.
        """
        if min(images.shape[2:]) < STRIDE:
            height, width = images.shape[2:]
            raise ArmError(f"FrameCNN: images of {height} x {width}; give {STRIDE} or more a side")
        return self.trunk(images)

    def pooled(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D"]:
        """The vector before the last layer, from the maps."""
        return self.dropout(self.relu(self.norm(self.hidden(maps.mean(dim=(2, 3))))))

    def head(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Logits from the vector before the last layer."""
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
