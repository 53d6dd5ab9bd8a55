"""Augment a training batch: frames, their masks, and the frames of an unlabelled stream."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps


def augment_batch(
    batch: Mapping[str, Tensor], augmentation: Augment | SixSteps | None, *, seed: int
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
