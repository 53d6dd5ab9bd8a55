"""Spatial transformers: networks that learn where to crop.

Letters and coordinates as in `lus_ray.nets.crops`.
Source: Roy et al. 2020, section IV-A1, in the released sizes and initial values.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.cnn import STRIDE, ConvTrunk
from lus_ray.nets.crops import PRIOR_SCALES, CropNet, Size, affine_matrices, full_precision

AFFINE = (0.5, 0.0, 0.2, 0.0, 0.5, 0.2)
TRANSLATION = (0.3, 0.3, 0.2, 0.2)
SCALING = (0.5, 0.75)
"""Initial values: theta row by row; (x, y) of both crops; scales before their sigmoid, so that
training begins at 0.6225 and 0.6792."""

ROTATION_STD = 0.1
NUM_HIDDEN = 32
Transform = Literal["full", "fixed scale"]


class STN(CropNet):
    """A crop under any affine map: 1,699,114 parameters at the published width and size."""

    def __init__(self, num_outputs: int = 4, *, width: int = 32, size: Size = 224) -> None:
        super().__init__(num_outputs, width=width, size=size)
        self.localiser = Localiser({"affine": AFFINE}, width=width, size=self.size)

    def locate_crops(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1 2 3"]:
        return self.localiser(images)["affine"].unflatten(1, (1, 2, 3))

    def scales(self, theta: Float[Tensor, "N C 2 3"]) -> None:
        """None: an affine map has no single scale."""


class RegSTN(CropNet):
    """A small and a large crop about one centre, whose scores are to agree (equations 5 and 6).

    `transform="full"` learns translation, scale and rotation (1,699,246 parameters), and
    `"fixed scale"` the translation alone (1,699,048); its sides are 0.5 and 0.75.
    As released, both crops take the first pair of translations, and the second pair gets no
    gradient; with `own_translation` the large crop takes it, as the paper's text describes. An
    unknown transform raises ArmError.
    """

    def __init__(
        self,
        num_outputs: int = 4,
        *,
        width: int = 32,
        size: Size = 224,
        transform: Transform = "full",
        own_translation: bool = False,
    ) -> None:
        if transform not in get_args(Transform):
            known = " or ".join(map(repr, get_args(Transform)))
            raise ArmError(f"RegSTN: no transform {transform!r}; use {known}")
        super().__init__(num_outputs, width=width, size=size)
        self.transform, self.own_translation = transform, own_translation
        heads: dict[str, Sequence[float]] = {"translation": TRANSLATION}
        if transform == "full":
            heads["scaling"] = SCALING
            heads["rotation"] = torch.normal(0.0, ROTATION_STD, (4,)).tolist()
        self.localiser = Localiser(heads, width=width, size=self.size)

    def locate_crops(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 2 2 3"]:
        outputs = self.localiser(images)
        translation = outputs["translation"].unflatten(1, (2, 2))
        if not self.own_translation:
            translation = translation[:, :1].expand(-1, 2, -1)
        if self.transform == "full":
            rotation = outputs["rotation"].unflatten(1, (2, 2))
            return affine_matrices(outputs["scaling"].sigmoid(), rotation, translation)
        scales = translation.new_tensor(PRIOR_SCALES).expand(len(images), 2)
        return affine_matrices(scales, torch.zeros_like(translation), translation)


class Localiser(nn.Module):
    """Images to a few numbers by name: a trunk, 32 hidden units, linear heads.

    `heads` are the initial values by name: the weights of the heads begin at zero.
    """

    def __init__(
        self, heads: Mapping[str, Sequence[float]], *, width: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.trunk = ConvTrunk(width)
        num_positions = (size[0] // STRIDE) * (size[1] // STRIDE)
        self.hidden = nn.Linear(self.trunk.num_channels * num_positions, NUM_HIDDEN)
        self.relu = nn.ReLU(inplace=True)
        self.heads = nn.ModuleDict({name: _head(values) for name, values in heads.items()})

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N _"]]:
        """Values of each head, in the precision of the images even under autocast."""
        hidden = self.relu(self.hidden(self.trunk(images).flatten(1))).to(images.dtype)
        with full_precision(images):
            return {name: head(hidden) for name, head in self.heads.items()}


def _head(values: Sequence[float]) -> nn.Linear:
    head = nn.Linear(NUM_HIDDEN, len(values))
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor(values))
    return head
