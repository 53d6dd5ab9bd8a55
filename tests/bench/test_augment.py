"""Steps one by one make the images of one pass."""

import pytest
import torch
from torch import Tensor

from lus_ray.bench import augment
from lus_ray.bench.augment_baselines import one_by_one, six_in_turn
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import LusError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["mirror", "right", "down", "angle", "scale", "intensity"])
def test_a_baseline_that_leaves_a_step_out_gets_no_ratio(name: str):
    class Lazy(Augment):
        def draw(self, num_clips: int, generator: torch.Generator) -> dict[str, Tensor]:
            sampled = super().draw(num_clips, generator)
            still = 0.0 if name in ("right", "down", "angle") else 1.0
            return sampled | {name: torch.full_like(sampled[name], still)}

    (frames, _) = augment.spots((8, 1, 64, 64))
    ours = (Augment()(frames, seeded(0)),)
    lazy = (one_by_one(Lazy(), frames, seeded(0)),)
    with pytest.raises(LusError, match="of the greys of 'lazy' differ from ours"):
        augment.check_equal(ours, lazy, "lazy")


def test_six_steps_in_turn_are_six_steps_of_every_clip():
    recipe = SixSteps(share=1.0)
    frames, ids = augment.phantom_images((12, 1, 64, 80))
    ours = recipe.with_masks(frames, ids, seeded(1))
    theirs = six_in_turn(recipe, frames, ids, seeded(1))
    augment.check_equal(ours, theirs, "in turn")
    with pytest.raises(LusError, match="class ids"):
        augment.check_equal(ours, (theirs[0], theirs[1].flip(-1)), "mirrored")
