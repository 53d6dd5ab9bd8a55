"""Images that a judge sees again: a pool of what was made before (Shrivastava et al. 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor


class ImagePool:
    """The last `size` batches, one item each, in `images`.

    Until it is full every batch is kept and given back; then, in half of the cases, one that was
    kept is given instead and the new one takes its place. Numbers come from torch's generator on
    the CPU, so that the same seed gives the same choice on any device.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def __call__(self, batch: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        """This batch, or an earlier one in its place."""
        if len(self.images) < self.size:
            self.images.append(batch)
            return batch
        if not self.size or torch.rand(()) < 0.5:
            return batch
        place = int(torch.randint(self.size, ()))
        earlier, self.images[place] = self.images[place], batch
        return earlier
