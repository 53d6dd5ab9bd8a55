"""Steps one by one make the images of one pass."""

from functools import partial

import pytest
import torch
from torch import Tensor

from lus_ray.bench import augment
from lus_ray.bench.augment import one_by_one, six_in_turn
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import LusError


@pytest.mark.parametrize("name", ["mirror", "right", "down", "angle", "scale", "intensity"])
def test_a_rival_that_leaves_a_step_out_gets_no_ratio(name: str):
    class Lazy(Augment):
        def draw(self, num_clips: int, generator: torch.Generator) -> dict[str, Tensor]:
            sampled = super().draw(num_clips, generator)
            still = 0.0 if name in ("right", "down", "angle") else 1.0
            return sampled | {name: torch.full_like(sampled[name], still)}

    (frames, _) = augment.spots((8, 1, 64, 64))
    ours = partial(augment.augment_batch, Augment(), ())
    lazy = partial(augment.augment_batch, partial(one_by_one, Lazy()), ())
    with pytest.raises(LusError, match="of the greys of 'lazy' differ from ours"):
        augment.check_equal(ours, lazy, "lazy", smooth=(frames,))


def test_six_steps_in_turn_are_six_steps_of_every_clip():
    recipe = SixSteps(share=1.0)
    check = partial(augment.check_equal, smooth=augment.phantom_images((12, 1, 64, 80)))
    ours = partial(augment.augment_batch, recipe.with_masks, ())
    theirs = partial(augment.augment_batch, partial(six_in_turn, recipe), ())

    def mirrored(batch: augment.Images) -> list[augment.Images]:
        return [(frames, ids.flip(-1)) for frames, ids in theirs(batch=batch)]

    check(ours, theirs, "in turn")
    with pytest.raises(LusError, match="class ids"):
        check(ours, mirrored, "mirrored")
