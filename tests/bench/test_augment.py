"""Steps one by one make the images of one pass."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lus_ray.bench import augment, augment_baselines
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import LusError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("recipe", [Augment(), ROY_2020])
@pytest.mark.parametrize(
    "baseline", [augment_baselines.one_by_one, augment_baselines.one_map_a_clip]
)
def test_steps_one_by_one_move_a_spot_to_where_one_pass_does(
    recipe: Augment, baseline: Callable[..., Tensor]
):
    frames, _ = augment.spots((8, 2, 96, 128))
    for seed in range(4):
        result = baseline(recipe, frames, seeded(seed))
        torch.testing.assert_close(result, recipe(frames, seeded(seed)), atol=0.01, rtol=0)
        assert (result - frames).abs().max() > 0.1


@pytest.mark.parametrize("name", ["mirror", "right", "down", "angle", "scale", "intensity"])
def test_a_baseline_that_leaves_a_step_out_gets_no_ratio(name: str):
    class Lazy(Augment):
        def draw(self, num_clips: int, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = super().draw(num_clips, generator)
            still = 0.0 if name in ("right", "down", "angle") else 1.0
            return drawn | {name: torch.full_like(drawn[name], still)}

    (frames, _) = augment.spots((8, 1, 64, 64))
    ours = (Augment()(frames, seeded(0)),)
    lazy = (augment_baselines.one_by_one(Lazy(), frames, seeded(0)),)
    with pytest.raises(LusError, match="of the greys of 'lazy' differ from ours"):
        augment.check_equal(ours, lazy, "lazy")


@pytest.mark.parametrize("share", [0.33, 1.0])
def test_six_steps_in_turn_are_six_steps(share: float):
    recipe = SixSteps(share=share)
    frames, ids = augment.phantom_images((12, 1, 64, 80))
    ours = recipe.with_masks(frames, ids, seeded(1))
    theirs = augment_baselines.six_in_turn(recipe, frames, ids, seeded(1))
    augment.check_equal(ours, theirs, "in turn")
    with pytest.raises(LusError, match="class ids"):
        augment.check_equal(ours, (theirs[0], theirs[1].flip(-1)), "mirrored")


def test_a_blur_of_the_baseline_is_a_gaussian():
    clip = torch.rand(2, 9, 11, generator=seeded(0))
    expected = np.stack([gaussian_filter(frame, 0.6) for frame in clip.numpy()])
    blurred = augment_baselines._blurred(clip, 0.6)
    torch.testing.assert_close(blurred, torch.from_numpy(expected), atol=1e-6, rtol=0)
