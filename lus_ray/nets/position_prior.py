"""PositionPrior: the class of a pixel from its position alone, as a baseline.

Letters: N images, C channels, H rows, W columns, K outputs.
Why: sector, pleura and the lung below it lie at about the same position in every frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lus_ray.nets.segmenter import Segmenter, Size


class PositionPrior(Segmenter):
    """One logit per class and position on a grid of `rows` x `columns`, bilinear between them."""

    def __init__(self, num_outputs: int, *, rows: int = 32, columns: int = 32) -> None:
        super().__init__()
        self.out = nn.ParameterDict({"weight": torch.zeros(num_outputs, rows, columns)})

    def stem(self, images: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N C H W"], ...]:
        """The images; only their number is used."""
        return (images,)

    def rest(
        self, stem: tuple[Float[Tensor, "N C H W"], ...], size: Size
    ) -> Float[Tensor, "N K H W"]:
        """The same logits for every image."""
        weight = self.out["weight"][None]
        grown = interpolate(weight, size, mode="bilinear", align_corners=False)
        return grown.expand(len(stem[0]), -1, -1, -1)
