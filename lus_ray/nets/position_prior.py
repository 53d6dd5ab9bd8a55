"""PositionPrior: the class of a pixel from its position alone, as a baseline.

Why: sector, pleura and the lung below it lie at about the same position in every frame.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate

from lus_ray.nets.segmenter import Images, PixelLogits, Segmenter, Size, Stem


class PositionPrior(Segmenter):
    """A logit per class and position on a grid of `rows` x `columns`, bilinear in between."""

    def __init__(self, num_outputs: int, *, rows: int = 32, columns: int = 32) -> None:
        super().__init__()
        self.out = nn.ParameterDict({"weight": torch.zeros(num_outputs, rows, columns)})

    def stem(self, images: Images) -> Stem:
        return (images,)

    def rest(self, stem: Stem, size: Size) -> PixelLogits:
        weight = self.out["weight"][None]
        grown = interpolate(weight, size, mode="bilinear", align_corners=False)
        return grown.expand(len(stem[0]), -1, -1, -1)
