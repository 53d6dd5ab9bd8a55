"""ReverseTransfer: a trained segmenter becomes a classifier.

Letters: M maps of the segmenter.
Source: Gare et al. 2021, section 3.2: the softmax maps of a U-Net, the mean of each over the
image, and one linear layer; the whole network is then trained.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.nets.unet import UNet


class ReverseTransfer(nn.Module):
    """A U-Net of `num_maps` classes (`segmenter`), global averages, a linear layer (`out`)."""

    head_name = "out"

    def __init__(
        self,
        num_outputs: int,
        *,
        num_maps: int = 7,
        num_channels: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.segmenter = UNet(
            num_maps, num_channels=num_channels, widths=tuple(widths), batch_norm=batch_norm
        )
        self.num_features = num_maps
        self.out = nn.Linear(num_maps, num_outputs)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        return self.head(self.features(images))

    def maps(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M H W"]:
        """The probability of each class of the segmenter at each pixel."""
        return torch.softmax(self.segmenter(images), dim=1)

    def features(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M"]:
        return self.maps(images).mean(dim=(2, 3))

    def head(self, features: Float[Tensor, "N M"]) -> Float[Tensor, "N K"]:
        return self.out(features)

    def activation_map(
        self, images: Float[Tensor, "N C H W"], classes: Tensor
    ) -> Float[Tensor, "N H W"]:
        """The evidence for a class of each image: its positive part, at most 1.

        The mean weight over the maps is subtracted: the maps sum to 1 at every pixel, so that a
        constant in all weights shifts every pixel alike.
        """
        weight = self.out.weight[classes]
        weight = weight - weight.mean(dim=1, keepdim=True)
        heat = torch.einsum("nm,nmhw->nhw", weight, self.maps(images)).relu()
        highest = heat.amax(dim=(1, 2), keepdim=True)
        return heat / highest.clamp(min=torch.finfo(heat.dtype).tiny)
