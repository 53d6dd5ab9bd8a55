"""The contract of a segmenter: images to one logit per class and pixel, at the size of the images.

Letters: N images, C channels, H rows, W columns, K outputs.
Why it comes in two parts: Monte Carlo dropout repeats only what dropout changes. `stem` is all
that happens before the first dropout, `rest` all that follows; together they are the network.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lus_ray.errors import ArmError

Size = tuple[int, int]
"""Rows and columns of the images."""


class Segmenter(nn.Module, ABC):
    """Logits of pixels; a subclass defines the two parts. `head_name` is its last layer."""

    head_name = "out"

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K H W"]:
        """Logits of images in the range of values that the network is trained with.

        Raises:
            ArmError: the network cannot take images of this size.
        """
        return self.rest(self.stem(images), _size(images))

    @abstractmethod
    def stem(self, images: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N _ _ _"], ...]:
        """What no dropout changes."""

    @abstractmethod
    def rest(
        self, stem: tuple[Float[Tensor, "N _ _ _"], ...], size: Size
    ) -> Float[Tensor, "N K H W"]:
        """Logits at `size` (H, W) from what `stem` gave, which it leaves as it was."""


def check_size(net: nn.Module, images: Float[Tensor, "N C H W"], multiple: int) -> None:
    """Refuse images whose sides are no multiples of what a network halves them by.

    Raises:
        ArmError: with the nearest sizes that would do.
    """
    height, width = _size(images)
    if height % multiple or width % multiple:
        larger = " x ".join(str(side + -side % multiple) for side in (height, width))
        raise ArmError(
            f"{type(net).__name__}: images of {height} x {width}; give sides that are multiples "
            f"of {multiple}, such as {larger}"
        )


def pad_to_multiple(images: Float[Tensor, "N C H W"], multiple: int) -> Float[Tensor, "N C h w"]:
    """Images with zeros around them up to the next multiple, as much on each side as can be."""
    top, bottom, left, right = _margins(_size(images), multiple)
    return functional.pad(images, (left, right, top, bottom))


def crop_to_size(
    maps: Float[Tensor, "N K h w"], size: Size, multiple: int
) -> Float[Tensor, "N K H W"]:
    """Maps without the margins that `pad_to_multiple` put around images of `size`."""
    top, _, left, _ = _margins(size, multiple)
    return maps[:, :, top : top + size[0], left : left + size[1]]


def _margins(size: Size, multiple: int) -> tuple[int, int, int, int]:
    rows, columns = (-side % multiple for side in size)
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]
