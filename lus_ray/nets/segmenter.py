"""The contract of a segmenter: images to a logit for each class and pixel, at the images' size.

Why two parts: Monte Carlo dropout repeats only what dropout changes. `stem` computes everything
before the first dropout; `rest` computes logits of size (H, W) from it and leaves it unchanged.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError

Size = tuple[int, int]
"""Rows and columns of the images."""

Images = Float[Tensor, "N C H W"]
Stem = tuple[Float[Tensor, "N _ _ _"], ...]
PixelLogits = Float[Tensor, "N K H W"]


class Segmenter(nn.Module, ABC):
    """Logits of pixels; a subclass defines both parts. `head_name` is its last layer."""

    head_name = "out"

    def forward(self, images: Images) -> PixelLogits:
        """Logits of images in the range of values that the network is trained with.

        Raises:
            ArmError: the network cannot take images of this size.
        """
        return self.rest(self.stem(images), _size(images))

    @abstractmethod
    def stem(self, images: Images) -> Stem: ...

    @abstractmethod
    def rest(self, stem: Stem, size: Size) -> PixelLogits: ...


def check_size(net: nn.Module, images: Images, multiple: int) -> None:
    """Raise ArmError with the next larger size unless both sides are multiples of `multiple`."""
    height, width = _size(images)
    if height % multiple or width % multiple:
        larger = " x ".join(str(side + -side % multiple) for side in (height, width))
        raise ArmError(
            f"{type(net).__name__}: images of {height} x {width}; give sides that are multiples "
            f"of {multiple}, such as {larger}"
        )


def pad_to_multiple(images: Images, multiple: int) -> Float[Tensor, "N C h w"]:
    """Pad images with zeros up to the next multiple, equally on opposite sides where possible."""
    top, bottom, left, right = _margins(_size(images), multiple)
    return functional.pad(images, (left, right, top, bottom))


def crop_to_size(maps: Float[Tensor, "N K h w"], size: Size, multiple: int) -> PixelLogits:
    """Cut off the margins that `pad_to_multiple` put around images of `size`."""
    top, _, left, _ = _margins(size, multiple)
    return maps[:, :, top : top + size[0], left : left + size[1]]


def _margins(size: Size, multiple: int) -> tuple[int, int, int, int]:
    rows, columns = (-side % multiple for side in size)
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]
