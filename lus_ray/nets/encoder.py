"""Encoders: the layers of a classifier without its last ones, as maps at several scales.

Letters: N images, H rows, W columns; map n is H / 2^n x W / 2^n, n from 1.
Why names are those of torchvision: its ImageNet weights go in as they are.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.mobilenet import MobileNetV2
from lus_ray.nets.pretrained import weights
from lus_ray.nets.resnet import BasicBlock, Bottleneck, ResNet

KINDS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class ResNetEncoder(nn.Module):
    """A ResNet up to one of its stages.

    `kind` is "resnet18", "resnet34" or "resnet50", `width` the channels of the first stage,
    `num_stages` the stages that are kept. `num_channels` counts those of each map, the coarsest
    last; `dropped_prefixes` begins the names of what a whole classifier has beside them. With an
    `output_stride` of 16 the fourth stage keeps the size of its input and dilates its 3 x 3
    convolutions twofold, all of them, as segmentation_models.pytorch does.

    Raises:
        ArmError: there is no such kind, or the stride is neither 16 nor 32.
    """

    def __init__(
        self, kind: str, *, width: int = 64, num_stages: int = 4, output_stride: int = 32
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ArmError(f"no encoder {kind!r}; use one of {', '.join(KINDS)}")
        if output_stride not in (16, 32):
            raise ArmError(f"{kind}: output stride {output_stride}; give 16 or 32")
        block, layers = KINDS[kind]
        expansion = block.expansion
        whole = ResNet(block, layers[:num_stages], width=width, num_outputs=1, expansion=expansion)
        for name, child in whole.named_children():
            if name != "fc":
                self.add_module(name, child)
        self.num_stages = num_stages
        widths = (width * expansion << stage for stage in range(num_stages))
        self.num_channels = (width, *widths)
        self.dropped_prefixes = (
            "fc.",
            *(f"layer{n}." for n in range(num_stages + 1, len(layers) + 1)),
        )
        if output_stride == 16 and num_stages == len(layers):
            _dilate(self.get_submodule("layer4"))

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _ _ _"], ...]:
        """The map before the first pooling, and that of each stage."""
        x = self.get_submodule("bn1")(self.get_submodule("conv1")(images))
        maps = [self.get_submodule("relu")(x)]
        x = self.get_submodule("maxpool")(maps[0])
        for stage in range(1, self.num_stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return tuple(maps)


def load_encoder(
    encoder: ResNetEncoder | MobileNetV2, state: Mapping[str, Tensor], *, origin: str = "weights"
) -> list[str]:
    """Copy the weights of a whole classifier into its encoder; the names that were copied.

    Raises:
        CheckpointError: the state is that of another network; then the encoder is as it was.
    """
    kept = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(encoder.dropped_prefixes)
    }
    return weights.load(encoder, kept, head=True, origin=origin)


def _dilate(stage: nn.Module) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
