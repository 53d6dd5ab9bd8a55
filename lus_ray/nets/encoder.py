"""Encoders: the layers of a classifier without its last ones, as maps at several scales.

Map n is H / 2^n x W / 2^n, n from 1. Names are those of torchvision, so that its weights load.
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
    `num_stages` the number of stages. `num_channels` are those of the maps, the coarsest last;
    `dropped_prefixes` those of parameters that only the whole classifier has. With an
    `output_stride` of 16 the fourth stage keeps the size of its input and dilates all its 3 x 3
    convolutions twofold, as segmentation_models.pytorch does.

    Raises:
        ArmError: unknown kind, or a stride that is neither 16 nor 32.
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
        self.kind, self.num_stages = kind, num_stages
        self.num_channels = (width, *(width * expansion << stage for stage in range(num_stages)))
        dropped_stages = range(num_stages + 1, len(layers) + 1)
        self.dropped_prefixes = ("fc.", *(f"layer{stage}." for stage in dropped_stages))
        if output_stride == 16 and num_stages == len(layers):
            _dilate(self.get_submodule("layer4"))

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _ _ _"], ...]:
        """The maps before the first pooling and of each stage."""
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
    """Copy the weights of a whole classifier into its encoder; return the copied names.

    Raises:
        CheckpointError: the state belongs to another network; the encoder is unchanged.
    """
    dropped = encoder.dropped_prefixes
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(dropped)}
    return weights.load(encoder, kept, head=True, origin=origin)


def _dilate(stage: nn.Module) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
