"""Steps one by one make the pictures of one pass; speed itself is not asserted."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lus_ray.bench import augment, augment_baselines
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import LusError

SHAPES = {"clips": (2, 2, 64, 64), "frames": (3, 1, 64, 80), "six steps": (6, 1, 64, 64)}
PAIRS = [
    (Augment(), partial(augment_baselines.one_by_one, Augment())),
    (Augment(), partial(augment_baselines.one_map_a_clip, Augment())),
    (ROY_2020, partial(augment_baselines.one_by_one, ROY_2020)),
    (ROY_2020, partial(augment_baselines.one_map_a_clip, ROY_2020)),
]


def test_every_batch_is_measured():
    found = augment.measure(1, shapes=SHAPES)
    assert list(found) == ["clips", "frames", "six steps", "clips, joined", "frames, joined"]
    assert [measured.target for measured in found.values()] == [2, 2, 2, None, None]
    assert found["clips, joined"].baselines[0].name == "one map a clip"
    assert all(measured.baselines[0].name == "one by one" for measured in list(found.values())[:3])


@pytest.mark.parametrize(("ours", "baseline"), PAIRS)
@pytest.mark.parametrize("seed", range(4))
def test_steps_one_by_one_move_a_spot_to_where_one_pass_does(
    ours: Augment, baseline: Callable[..., Tensor], seed: int
):
    frames, _ = augment.spots((8, 2, 96, 128))
    expected = ours(frames, torch.Generator().manual_seed(seed))
    found = baseline(frames, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert (found - frames).abs().max() > 0.1


@pytest.mark.parametrize("name", ["mirror", "right", "down", "angle", "scale", "intensity"])
def test_a_rival_that_leaves_a_step_out_gets_no_ratio(name: str):
    class Lazy(Augment):
        def draw(self, num_clips: int, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = super().draw(num_clips, generator)
            still = 0.0 if name in ("right", "down", "angle") else 1.0
            return drawn | {name: torch.full_like(drawn[name], still)}

    batch = augment.spots((8, 1, 64, 64))[:1]
    ours = (Augment()(*batch, torch.Generator().manual_seed(0)),)
    lazy = (augment_baselines.one_by_one(Lazy(), *batch, torch.Generator().manual_seed(0)),)
    with pytest.raises(LusError, match="of the greys of 'lazy' differ from ours"):
        augment.check_equal(ours, lazy, "lazy")


@pytest.mark.parametrize("share", [0.33, 1.0])
def test_six_steps_in_turn_are_six_steps(share: float):
    recipe = SixSteps(share=share)
    frames, ids = augment.pictures((12, 1, 64, 80))
    ours = recipe.with_masks(frames, ids, torch.Generator().manual_seed(1))
    theirs = augment_baselines.six_in_turn(recipe, frames, ids, torch.Generator().manual_seed(1))
    augment.check_equal(ours, theirs, "in turn")
    with pytest.raises(LusError, match="class ids"):
        augment.check_equal(ours, (theirs[0], theirs[1].flip(-1)), "mirrored")


def test_a_blur_of_the_rival_is_a_gaussian():
    clip = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0))
    expected = np.stack([gaussian_filter(frame, 0.6) for frame in clip.numpy()])
    found = augment_baselines._blurred(clip, 0.6)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_a_picture_that_is_not_a_number_gets_no_ratio():
    whole, broken = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), torch.nan)
    with pytest.raises(LusError, match=r"100\.0% of the greys"):
        augment.check_equal((whole,), (broken,), "broken")
