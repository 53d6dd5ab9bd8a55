"""Whole passes sample what Monte Carlo dropout samples."""

from functools import partial

import pytest
import torch

from lus_ray.bench import mcdropout
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.nets.mc_dropout import mc_dropout
from tests.bench.test_benchmarks import NETS


def test_whole_passes_with_another_seed_get_no_ratio_and_restore_random_state_and_modes():
    frames = torch.rand(2, 1, 40, 60, generator=torch.Generator().manual_seed(0))
    nets = {"U-Net": NETS["U-Net"]}
    (member,) = mcdropout.build_ensemble(nets, View(1, 40, 60, 0), frames).net
    images, state = member.to_images(frames), torch.get_rng_state()
    ours = partial(mc_dropout, member.net, images, generator_seed=1)
    theirs, others = (partial(mcdropout.whole_passes, member.net, images, seed=n) for n in (1, 2))
    mcdropout.check_equal(ours, theirs, "net")
    assert not any(module.training for module in member.net.modules())
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(LusError, match="net differ from ours by"):
        mcdropout.check_equal(ours, others, "net")
