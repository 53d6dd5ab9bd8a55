"""I3D: a ResNet-50 with temporal filters, with the parameter names of PyTorchVideo.

Source: Carreira and Zisserman 2017, "Quo vadis, action recognition?", as "I3D R50 8x8" of
PyTorchVideo: 28.04 million parameters with the 400 outputs of Kinetics.
Why an adaptive head: the published one averages windows of 4 x 7 x 7, which fits 8 frames of
224 x 224; the mean over all positions is the same there and is defined for any length.
"""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

KINETICS_MEAN = 0.45
KINETICS_STD = 0.225

TEMPORAL_KERNELS = ((3,), (3, 1), (3, 1), (1, 3))
"""Temporal kernel sizes of the first convolution of the blocks of each stage, in turn."""


class I3D(nn.Module):
    """Grey clips to logits.

    `width` is the channels of the stem, `layers` the blocks per stage; `dropout` acts on the pooled
    vector. As in the reference, the last layer begins at N(0, 0.01) with bias 0, and the last
    normalisation of each block at 0, so that a new block adds nothing.
    """

    head_name = "blocks.6.proj"

    def __init__(
        self,
        num_outputs: int,
        *,
        width: int = 64,
        layers: Sequence[int] = (3, 4, 6, 3),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = [width << stage for stage in range(4)]
        channels = [width, *(4 * inner for inner in widths)]
        parts = zip(channels[:-1], widths, layers, TEMPORAL_KERNELS, (1, 2, 2, 2), strict=True)
        stages = [_stage(*stage) for stage in parts]
        # Entry 2 has no weights; it keeps the numbers of the later blocks as published.
        halve_time = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1))
        head = nn.Sequential(OrderedDict(proj=nn.Linear(channels[-1], num_outputs)))
        self.blocks = nn.ModuleList([_stem(width), stages[0], halve_time, *stages[1:], head])
        self.dropout = nn.Dropout(dropout)
        self.num_features = channels[-1]
        _initialise(self)

    def forward(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B K"]:
        """Logits of clips with grey values in [0, 1] and at least two frames."""
        return self.head(self.dropout(self.features(frames)))

    def features(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B D"]:
        return self._maps(frames).mean(dim=(2, 3, 4))

    def clip_maps(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B t D h w"]:
        return self._maps(frames).transpose(1, 2)

    def _maps(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B D t h w"]:
        grey = (frames - KINETICS_MEAN) / KINETICS_STD
        x = grey[:, None].expand(-1, 3, -1, -1, -1)
        for block in self.blocks[:-1]:
            x = block(x)
        return x

    def head(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        return self.blocks[-1](features)


class ResBlock(nn.Module):
    """A bottleneck (`branch2`) beside a shortcut (`branch1`, with weights where sizes change)."""

    def __init__(self, num_inputs: int, inner: int, *, temporal_kernel: int, stride: int) -> None:
        super().__init__()
        num_outputs = 4 * inner
        spatial = (1, stride, stride)
        self.projects = num_inputs != num_outputs or stride > 1
        if self.projects:
            self.branch1_conv = nn.Conv3d(num_inputs, num_outputs, 1, spatial, bias=False)
            self.branch1_norm = nn.BatchNorm3d(num_outputs)
        self.branch2 = _bottleneck(num_inputs, inner, temporal_kernel, spatial)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B c T h w"]:
        shortcut = self.branch1_norm(self.branch1_conv(x)) if self.projects else x
        return self.activation(self.branch2(x).add_(shortcut))


def _stage(
    num_inputs: int, inner: int, num_blocks: int, kernels: tuple[int, ...], stride: int
) -> nn.Sequential:
    blocks = [ResBlock(num_inputs, inner, temporal_kernel=kernels[0], stride=stride)]
    for n in range(1, num_blocks):
        kernel = kernels[n % len(kernels)]
        blocks.append(ResBlock(4 * inner, inner, temporal_kernel=kernel, stride=1))
    return nn.Sequential(OrderedDict(res_blocks=nn.Sequential(*blocks)))


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv3d(3, width, (5, 7, 7), (1, 2, 2), padding=(2, 3, 3), bias=False),
            norm=nn.BatchNorm3d(width),
            activation=nn.ReLU(inplace=True),
            pool=nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
    )


def _bottleneck(
    num_inputs: int, inner: int, temporal_kernel: int, spatial_stride: tuple[int, int, int]
) -> nn.Sequential:
    time = (temporal_kernel, 1, 1)
    reach = (temporal_kernel // 2, 0, 0)
    return nn.Sequential(
        OrderedDict(
            conv_a=nn.Conv3d(num_inputs, inner, time, padding=reach, bias=False),
            norm_a=nn.BatchNorm3d(inner),
            act_a=nn.ReLU(inplace=True),
            conv_b=nn.Conv3d(inner, inner, (1, 3, 3), spatial_stride, (0, 1, 1), bias=False),
            norm_b=nn.BatchNorm3d(inner),
            act_b=nn.ReLU(inplace=True),
            conv_c=nn.Conv3d(inner, 4 * inner, 1, bias=False),
            norm_c=nn.BatchNorm3d(4 * inner),
        )
    )


def _initialise(net: I3D) -> None:
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif name.endswith("norm_c"):
            nn.init.zeros_(module.get_parameter("weight"))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
