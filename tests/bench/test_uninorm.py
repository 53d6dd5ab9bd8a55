"""The rivals of the uninorm do the same work."""

import pytest
import torch

from lus_ray.bench import uninorm
from lus_ray.nets.uninorm import Uninorm


@pytest.mark.parametrize("name", uninorm.RIVALS)
def test_every_rival_is_the_uninorm(name: str):
    neutral = torch.tensor([0.2, 0.3, 0.5, 0.05]).double()
    net = Uninorm(initial=neutral.tolist())
    for num_frames in (1, 2, 7, 16):
        clips = uninorm.example(3, num_frames)[0].clamp(0.01, 0.99)
        torch.testing.assert_close(uninorm.RIVALS[name](clips, neutral), net(clips).detach())


def test_the_example_has_clips_of_both_branches_between_zero_and_one():
    clips, neutral = uninorm.example(64, 300)
    has_below = (clips < neutral[:, None]).any(dim=-1)
    aggregated = Uninorm(initial=neutral.tolist())(clips)
    is_between = (aggregated > 0.001) & (aggregated < 0.999)
    assert (has_below & is_between).sum() > 50
    assert (~has_below & is_between).sum() > 10
