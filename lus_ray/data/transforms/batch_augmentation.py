"""Augment a training batch: frames, their masks, and the frames of an unlabelled stream."""

from collections.abc import Mapping
from typing import Protocol

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from lus_ray.data.transforms import augment_gare2021


class Augmentation(Protocol):
    """A random change of clips (B, T, H, W) in [0, 1], and of masks with them."""

    def __call__(
        self, frames: Float[Tensor, "B T H W"], generator: torch.Generator
    ) -> Float[Tensor, "B T H W"]:
        """Changed frames."""

    def with_masks(
        self,
        frames: Float[Tensor, "B T H W"],
        masks: Integer[Tensor, "B T H W"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "B T H W"], Integer[Tensor, "B T H W"]]:
        """Changed frames, and class ids moved with them."""


def augment_batch(
    batch: Mapping[str, Tensor], augmentation: Augmentation | None, *, seed: int
) -> dict[str, Tensor]:
    """The batch with the copies that `copy` numbers, if any, and then augmented."""
    batch = dict(batch)
    names = [name for name in ("frames", "masks") if name in batch]
    if "copy" in batch:
        images = (batch["frames"], batch.get("masks", torch.zeros_like(batch["frames"]).byte()))
        copies = augment_gare2021.make_copies(*images, batch.pop("copy"))
        batch.update(zip(names, copies, strict=False))
    if augmentation is None:
        return batch
    generator = torch.Generator().manual_seed(seed)
    if "target_frames" in batch:
        batch["target_frames"] = augmentation(batch["target_frames"], generator)
    if "masks" in batch:
        augmented = augmentation.with_masks(batch["frames"], batch["masks"], generator)
        batch.update(zip(names, augmented, strict=True))
    else:
        batch["frames"] = augmentation(batch["frames"], generator)
    return batch
