"""ResNet-18 and ResNet-50 with the parameter names of torchvision, so that its weights load.

Source: He et al. 2016, "Deep residual learning"; ResNet-50 has the stride in the 3 x 3
convolution, as torchvision's has.
"""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1], for the normalisation of images."""


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, num_inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(num_inputs, width, stride)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N c h w"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x).add_(shortcut))

    def residual(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N c h w"]:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, num_inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        num_outputs = width * self.expansion
        self.conv1 = nn.Conv2d(num_inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, num_outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(num_outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(num_inputs, num_outputs, stride)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N c h w"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)).add_(shortcut))


class ResNet(nn.Module):
    """A stem, four stages of blocks, the mean over the image, and a linear layer.

    `block(num_inputs, width, stride)` builds a block whose output has `width * expansion`
    channels; `layers` are the blocks per stage; `width` is the channels of the first stage and
    doubles with each stage.
    """

    head_name = "fc"

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        layers: Sequence[int],
        *,
        num_outputs: int = 1000,
        width: int = 64,
        expansion: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        num_channels = width
        for stage, num_blocks in enumerate(layers, start=1):
            stage_width = width << (stage - 1)
            blocks = [block(num_channels, stage_width, 2 if stage > 1 else 1)]
            num_channels = stage_width * expansion
            blocks += [block(num_channels, stage_width, 1) for _ in range(num_blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.num_stages = len(layers)
        self.num_features = num_channels
        self.fc = nn.Linear(num_channels, num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """Logits of normalised colour images."""
        return self.head(self.features(images))

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        return self.pooled(self.maps(images))

    def maps(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D h w"]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, self.num_stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x

    def pooled(self, maps: Float[Tensor, "N D h w"]) -> Float[Tensor, "N D"]:
        return maps.mean(dim=(2, 3))

    def head(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return self.fc(features)


def resnet18(num_outputs: int = 1000, *, width: int = 64) -> ResNet:
    """ResNet-18: 11,176,512 parameters and a last layer on 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_outputs=num_outputs, width=width)


def resnet50(num_outputs: int = 1000, *, width: int = 64) -> ResNet:
    """ResNet-50: 23,508,032 parameters and a last layer on 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_outputs=num_outputs, width=width, expansion=4)


def _downsample(num_inputs: int, num_outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and num_inputs == num_outputs:
        return None
    return nn.Sequential(
        nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False), nn.BatchNorm2d(num_outputs)
    )
