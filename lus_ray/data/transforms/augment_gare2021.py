"""Six copies of every image, made before training: as it is or mirrored, at three intensities.

Letters: B clips, T frames, H rows, W columns.
Source: Gare 2021, where 152 labelled images become 912. Copies are numbered, so that splits over
copies (as published) and over patients use one list.
"""

from itertools import product

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from lus_ray.errors import ArmError

SIX_COPIES = tuple(product((False, True), (1.0, 0.8, 1.1)))
"""(left and right exchanged, factor on grey) by number; number 0 is the image itself."""


def make_copies(
    frames: Float[Tensor, "B T H W"],
    masks: Integer[Tensor, "B T H W"],
    number: int | Integer[Tensor, "B"],
) -> tuple[Float[Tensor, "B T H W"], Integer[Tensor, "B T H W"]]:
    """Frames in [0, 1] and class ids as the copies of these numbers: one for all, or one a clip.

    Raises:
        ArmError: there is no copy of this number.
    """
    numbers = torch.as_tensor(number, device=frames.device).expand(len(frames)).long()
    wrong = numbers[(numbers < 0) | (numbers >= len(SIX_COPIES))]
    if len(wrong):
        raise ArmError(
            f"there is no copy {int(wrong[0])}; they are numbered 0 to {len(SIX_COPIES) - 1}"
        )
    mirrored, factors = (
        torch.tensor(values, device=frames.device)[numbers][:, None, None, None]
        for values in zip(*SIX_COPIES, strict=True)
    )
    copied = torch.where(mirrored, frames.flip(-1), frames).mul_(factors).clamp_(0, 1)
    return copied, torch.where(mirrored, masks.flip(-1), masks)
