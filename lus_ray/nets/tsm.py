"""TSM: a ResNet-18 over the frames of a clip that share channels with their neighbours.

Source: Lin et al. 2019, "TSM: temporal shift module", in the setting of Gare et al. 2022,
section 3.2: 15 frames, shift in the residual branch before the first convolution of each block,
1/8 of the channels each way.
Parameter names are those of a ResNet, so that ImageNet weights load.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.resnet import IMAGENET_MEAN, IMAGENET_STD, BasicBlock, ResNet


def temporal_shift(
    x: Float[Tensor, "BT C H W"], num_frames: int, parts: int = 8
) -> Float[Tensor, "BT C H W"]:
    """Exchange channels between neighbouring frames; zeros beyond the clip.

    The first C // parts channels come from the next frame, as many from the previous one, the
    rest stay. The first axis holds the frames of clip 0 in order, then those of clip 1.
    """
    return _Shift.apply(x, num_frames, x.shape[1] // parts)


class ShiftBlock(BasicBlock):
    """A basic block with a temporal shift in its residual branch; it adds no parameter."""

    def __init__(
        self, num_inputs: int, width: int, stride: int = 1, *, num_frames: int, parts: int
    ) -> None:
        super().__init__(num_inputs, width, stride)
        self.num_frames, self.parts = num_frames, parts

    def residual(self, x: Float[Tensor, "BT C H W"]) -> Float[Tensor, "BT c h w"]:
        return super().residual(temporal_shift(x, self.num_frames, self.parts))


class TSM(ResNet):
    """Grey clips to logits: the mean over the frames, before any softmax.

    `width` is the channels of the first stage, `layers` the blocks per stage; `dropout` acts on the
    pooled vector of each frame. As in the reference, the last layer begins at N(0, 0.001) with
    bias 0. A `width` below `parts` and clips of another length raise ArmError.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_outputs: int,
        *,
        num_frames: int = 15,
        width: int = 64,
        layers: Sequence[int] = (2, 2, 2, 2),
        dropout: float = 0.5,
        parts: int = 8,
    ) -> None:
        if width < parts:
            raise ArmError(f"TSM: width {width} has no 1/{parts} to shift; use {parts} or more")
        block = partial(ShiftBlock, num_frames=num_frames, parts=parts)
        super().__init__(block, layers, num_outputs=num_outputs, width=width)
        self.num_frames = num_frames
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD), persistent=False)

    def forward(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B K"]:
        """Logits of clips with grey values in [0, 1]."""
        return self.head(self.features(frames))

    def features(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B D"]:
        """The mean over the frames; its logits are the mean of theirs, the paper's consensus."""
        pooled = self.pooled(self.clip_maps(frames).flatten(0, 1))
        return self.dropout(pooled).unflatten(0, (-1, self.num_frames)).mean(dim=1)

    def clip_maps(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B T D h w"]:
        if frames.shape[1] != self.num_frames:
            raise ArmError(
                f"TSM: a clip has {frames.shape[1]} frames where {self.num_frames} are expected; "
                "give the view and the network the same num_frames"
            )
        # Convolutions are fastest with colour as the innermost axis.
        colour = (frames.flatten(0, 1)[..., None] - self.mean) / self.std
        return self.maps(colour.permute(0, 3, 1, 2)).unflatten(0, (-1, self.num_frames))


class _Shift(torch.autograd.Function):
    """The shift and its transpose, each in one pass; plain indexing makes four passes backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_frames: int, fold: int) -> Tensor:
        ctx.num_frames, ctx.fold = num_frames, fold
        return _move(x, num_frames, earlier=slice(0, fold), later=slice(fold, 2 * fold))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        fold = ctx.fold
        moved = _move(gradient, ctx.num_frames, earlier=slice(fold, 2 * fold), later=slice(0, fold))
        return moved, None, None


def _move(x: Tensor, num_frames: int, *, earlier: slice, later: slice) -> Tensor:
    """Channels `earlier` go to the frame before theirs, channels `later` to the one after."""
    clips = x.unflatten(0, (-1, num_frames))
    moved = torch.empty_like(clips)
    rest = max(earlier.stop, later.stop)
    moved[:, :, rest:] = clips[:, :, rest:]
    moved[:, :-1, earlier] = clips[:, 1:, earlier]
    moved[:, -1, earlier] = 0
    moved[:, 1:, later] = clips[:, :-1, later]
    moved[:, 0, later] = 0
    return moved.flatten(0, 1)
