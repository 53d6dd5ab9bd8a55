"""TSM: a ResNet-18 over the frames of a clip that share channels with their neighbours.

Letters: B clips, T frames, C channels, H rows, W columns, D features, K outputs.
Source: Lin et al. 2019, "TSM: temporal shift module", in the setting of Gare et al. 2022,
section 3.2: 15 frames, shift in the residual branch before the first convolution of each block,
1/8 of the channels each way.
Why the parameter names are those of a ResNet and nothing more: ImageNet weights load as they are.
"""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.resnet import IMAGENET_MEAN, IMAGENET_STD, BasicBlock, ResNet


def temporal_shift(
    x: Float[Tensor, "BT C H W"], num_frames: int, parts: int = 8
) -> Float[Tensor, "BT C H W"]:
    """Let each frame see a part of the channels of its neighbours; zeros beyond the clip.

    The first C // parts channels come from the next frame, as many from the previous one, the
    rest stay. The first axis holds the frames of clip 0 in order, then those of clip 1.
    """
    fold = x.shape[1] // parts
    clips = x.unflatten(0, (-1, num_frames))
    shifted = clips.clone()
    shifted[:, :-1, :fold] = clips[:, 1:, :fold]
    shifted[:, -1, :fold] = 0
    shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    shifted[:, 0, fold : 2 * fold] = 0
    return shifted.flatten(0, 1)


class ShiftBlock(BasicBlock):
    """A basic block whose residual branch sees the neighbouring frames; it adds no parameter."""

    def __init__(
        self, num_inputs: int, width: int, stride: int = 1, *, num_frames: int, parts: int
    ) -> None:
        super().__init__(num_inputs, width, stride)
        self.num_frames, self.parts = num_frames, parts

    def residual(self, x: Float[Tensor, "BT C H W"]) -> Float[Tensor, "BT c h w"]:
        """What the block adds to its shortcut."""
        return super().residual(temporal_shift(x, self.num_frames, self.parts))


class TSM(ResNet):
    """Grey clips to logits: the mean over the frames, before any softmax.

    `width` is the channels of the first stage (64 in ResNet-18), `layers` the blocks per stage.
    `dropout` acts on the pooled vector of each frame. The last layer begins at N(0, 0.001) with
    bias 0, as in the reference.

    Raises:
        ArmError: `width` has fewer channels than `parts`, so that nothing would be shifted.
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
        self.register_buffer("mean", IMAGENET_MEAN[:, None, None].clone(), persistent=False)
        self.register_buffer("std", IMAGENET_STD[:, None, None].clone(), persistent=False)

    def forward(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B K"]:
        """Logits of clips with grey values in [0, 1]."""
        return self.head(self.features(frames))

    def features(self, frames: Float[Tensor, "B T H W"]) -> Float[Tensor, "B D"]:
        """The mean over the frames of the pooled vector before the last layer.

        Because the last layer is linear, its output for this mean is the mean of the logits of
        the frames, which is the consensus of the paper.
        """
        if frames.shape[1] != self.num_frames:
            raise ArmError(
                f"TSM: a clip has {frames.shape[1]} frames where {self.num_frames} are expected; "
                "give the view and the network the same num_frames"
            )
        colour = frames.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        pooled = super().features((colour - self.mean) / self.std)
        return self.dropout(pooled).unflatten(0, (-1, self.num_frames)).mean(dim=1)
