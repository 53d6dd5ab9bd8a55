"""MobileNetV2 as an encoder, with the parameter names of torchvision, so that its weights load.

Source: Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2,
without the last convolution and the classifier; dilation as in Chen et al. 2017, "Rethinking
atrous convolution for semantic image segmentation".
"""

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block."""


class MobileNetV2(nn.Module):
    """Colour images to maps of `num_channels` channels, `output_stride` times smaller.

    `width` is the channels of the first convolution (32 in the paper); the others scale with it,
    rounded to multiples of 8. Dilation replaces strides beyond `output_stride`, which is 8, 16 or
    32; others raise ArmError. 1,811,712 parameters for a width of 32. `eps` and `momentum` are
    those of the normalisations.
    """

    kind = "mobilenet_v2"

    dropped_prefixes = ("features.18.", "classifier.")
    """Prefixes of parameters that only the whole classifier has."""

    def __init__(
        self, *, width: int = 32, output_stride: int = 32, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ArmError(f"MobileNetV2: output stride {output_stride}; give 8, 16 or 32")
        num_channels = _rounded(width)
        blocks: list[nn.Module] = [_unit(3, num_channels, 3, 2)]
        reached, dilation = 2, 1
        for expansion, base, num_blocks, first_stride in STAGES:
            num_outputs = _rounded(base * width / 32)
            for position in range(num_blocks):
                stride, after = first_stride if position == 0 else 1, dilation
                if reached * stride > output_stride:
                    stride, after = 1, dilation * stride
                reached *= stride
                block = InvertedResidual(num_channels, num_outputs, expansion, stride, dilation)
                blocks.append(block)
                num_channels, dilation = num_outputs, after
        self.features = nn.Sequential(*blocks)
        self.num_channels = num_channels
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = eps, momentum
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D h w"]:
        return self.features(images)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow without ReLU; a shortcut where size and channels stay."""

    def __init__(
        self, num_inputs: int, num_outputs: int, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        wide = num_inputs * expansion
        widen = [_unit(num_inputs, wide, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            _unit(wide, wide, 3, stride, dilation=dilation, groups=wide),
            nn.Conv2d(wide, num_outputs, 1, bias=False),
            nn.BatchNorm2d(num_outputs),
        )
        self.has_shortcut = stride == 1 and num_inputs == num_outputs

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N c h w"]:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


def _unit(
    num_inputs: int, width: int, kernel: int, stride: int = 1, *, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(num_inputs, width, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6(inplace=True))


def _rounded(num_channels: float) -> int:
    rounded = max(8, int(num_channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * num_channels else rounded
