"""Networks that score crops of a frame, and the baseline with random crops.

Letters: C crops an image, M = N C crops, h and w rows and columns of a crop. Crop 0 is the small
one; evaluation uses only this one. `theta` (2, 3) maps a point (x, y, 1) of the crop to a point
(x, y) of the image; both run from -1 (left, top) to 1 (right, bottom), as in
`torch.nn.functional.affine_grid`.
Source: Roy et al. 2020, sections IV-A1 and V-A.
Why all crops pass the classifier in one call: the statistics of its normalisation then mix them.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import floor

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError
from lus_ray.nets.cnn import STRIDE, FrameCNN

PRIOR_SCALES = (0.5, 0.75)
"""Equation 6: target of the scales of both crops, or their fixed values."""

STEPS = 1 << 16
"""Random centres are whole multiples of 1 / STEPS: their sums are exact in float32."""

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Branches:
    """Outputs of a batch of images, crop by crop.

    `scales` are the sides of the crops before rotation, as fractions of the image; None for crops
    without a single scale.
    """

    logits: Float[Tensor, "N C K"]
    theta: Float[Tensor, "N C 2 3"]
    scales: Float[Tensor, "N C"] | None


class CropNet(nn.Module, ABC):
    """A `FrameCNN` on crops that a subclass locates.

    `size` is the side of square images, or their (height, width), at least 32. ArmError for smaller
    ones, and for images of another size.
    """

    head_name = "classifier.out"

    def __init__(self, num_outputs: int, *, width: int, size: Size) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if min(self.size) < STRIDE:
            raise ArmError(f"{type(self).__name__}: size {size!r}; give {STRIDE} or more a side")
        self.classifier = FrameCNN(num_outputs, width=width)
        self.num_features = self.classifier.num_features

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """Logits of the small crop, for images in [0, 1]."""
        return self.head(self.features(images))

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        theta = self.theta(images)
        used = theta if self.training else theta[:, :1]  # in training the large one counts as well
        features = self.classifier.features(self.crops(images, used))
        return features.unflatten(0, (len(images), -1))[:, 0]

    def head(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return self.classifier.head(features)

    def branches(self, images: Float[Tensor, "N 3 H W"]) -> Branches:
        theta = self.theta(images)
        logits = self.classifier(self.crops(images, theta))
        return Branches(logits.unflatten(0, (len(images), -1)), theta, self.scales(theta))

    def theta(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C 2 3"]:
        """Positions of the crops of images in [0, 1]; random while `RandomCrops` trains."""
        if images.shape[2:] != self.size:
            size, expected = (" x ".join(map(str, s)) for s in (images.shape[2:], self.size))
            raise ArmError(
                f"{type(self).__name__}: images of {size} where {expected} is expected; "
                "give the view and the network the same size"
            )
        return self.locate_crops(images)

    @abstractmethod
    def locate_crops(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C 2 3"]: ...

    def scales(self, theta: Float[Tensor, "N C 2 3"]) -> Float[Tensor, "N C"] | None:
        return theta[..., 0, 0]

    def crops(
        self, images: Float[Tensor, "N 3 H W"], theta: Float[Tensor, "N C 2 3"]
    ) -> Float[Tensor, "M 3 h w"]:
        """All crops of image 0, then of image 1: half its sides, at least 32; black outside."""
        num_images, num_crops = theta.shape[:2]
        height, width = (max(side // 2, STRIDE) for side in images.shape[2:])
        # bfloat16 could not tell neighbouring pixels apart.
        with full_precision(images):
            shape = (num_images * num_crops, 3, height, width)
            grid = functional.affine_grid(theta.flatten(0, 1), list(shape), align_corners=False)
            # The crops of an image are sampled one below the other, so that no image is copied.
            column = grid.reshape(num_images, num_crops * height, width, 2)
            sampled = functional.grid_sample(images, column, align_corners=False)
        crops = sampled.unflatten(2, (num_crops, height)).movedim(2, 1).flatten(0, 1)
        return crops.contiguous(memory_format=torch.channels_last)  # fastest for convolutions


def full_precision(images: Tensor) -> AbstractContextManager[object]:
    """No autocast; the device "meta", on which operations are counted, knows none."""
    if images.is_meta:
        return nullcontext()
    return torch.autocast(images.device.type, enabled=False)


class RandomCrops(CropNet):
    """The plain CNN on two random crops; the large one contains the small one.

    In training torch's global generator draws crops for each image; in evaluation both are in the
    middle. `sides` are fractions of the image that rise within (0, 1]; others raise ArmError.
    """

    def __init__(
        self,
        num_outputs: int = 4,
        *,
        width: int = 32,
        size: Size = 224,
        sides: tuple[float, float] = PRIOR_SCALES,
    ) -> None:
        small, large = sides
        if not 0 < small <= large <= 1:
            raise ArmError(f"RandomCrops: sides {sides}; give the small one first, both in (0, 1]")
        super().__init__(num_outputs, width=width, size=size)
        self.sides = sides

    def locate_crops(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 2 2 3"]:
        scales = torch.tensor(self.sides).expand(len(images), 2)
        centres = torch.zeros(len(images), 2, 2)
        if self.training:
            small, large = scales[0].tolist()
            outer = _offsets(len(images), 1 - large)
            centres = torch.stack([outer + _offsets(len(images), large - small), outer], dim=1)
        return affine_matrices(scales, torch.zeros_like(centres), centres).to(images)


def affine_matrices(
    scales: Float[Tensor, "N C"],
    rotation: Float[Tensor, "N C 2"],
    translation: Float[Tensor, "N C 2"],
) -> Float[Tensor, "N C 2 3"]:
    """Theta: ((scale, rotation 0, x), (rotation 1, scale, y))."""
    top = torch.stack([scales, rotation[..., 0], translation[..., 0]], dim=-1)
    bottom = torch.stack([rotation[..., 1], scales, translation[..., 1]], dim=-1)
    return torch.stack([top, bottom], dim=-2)


def crop_corners(theta: Float[Tensor, "*crops 2 3"]) -> Float[Tensor, "*crops 4 2"]:
    """Corners (x, y) of crops, clockwise from the top left, in fractions of the image."""
    ends = theta.new_tensor([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    return (ends @ theta.mT + 1) / 2


def _offsets(num_images: int, reach: float) -> Float[Tensor, "N 2"]:
    largest = floor(reach * STEPS)
    return torch.randint(-largest, largest + 1, (num_images, 2)) / STEPS
