"""A pool of generated images, shown to a discriminator again (Shrivastava et al. 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor


class ImagePool:
    """Up to `size` batches; when full, half of the calls swap the batch for an earlier one.

    Random numbers come from torch's CPU generator, so that a seed works alike on any device.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def __call__(self, batch: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        if len(self.images) < self.size:
            self.images.append(batch)
            return batch
        if not self.size or torch.rand(()) < 0.5:
            return batch
        index = int(torch.randint(self.size, ()))
        earlier, self.images[index] = self.images[index], batch
        return earlier
