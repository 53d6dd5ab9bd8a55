"""Whole passes sample what Monte Carlo dropout samples."""

import pytest
import torch

from lus_ray.bench import mcdropout
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.nets.mc_dropout import mc_dropout
from lus_ray.tasks import Ensemble
from tests.bench.test_benchmarks import NETS

FRAMES = torch.rand(2, 1, 40, 60, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return mcdropout.build_ensemble(
        NETS, View(num_frames=1, height=40, width=60, num_samples=0), FRAMES
    )


@pytest.mark.parametrize("number", range(len(NETS)))
def test_whole_passes_have_the_moments_of_ours(ensemble: Ensemble, number: int):
    member = ensemble.net[number]
    images = member.to_images(FRAMES)
    ours = mc_dropout(member.net, images, num_samples=5, generator_seed=1)
    theirs = mcdropout.whole_passes(member.net, images, num_samples=5, seed=1)
    mcdropout.check_equal(ours, theirs, "net")
    other_seed = mcdropout.whole_passes(member.net, images, num_samples=5, seed=2)
    with pytest.raises(LusError, match="whole passes of the net differ from ours by"):
        mcdropout.check_equal(ours, other_seed, "net")


def test_whole_passes_restore_random_state_and_modes(ensemble: Ensemble):
    member = ensemble.net[0]
    state = torch.get_rng_state()
    mcdropout.whole_passes(member.net, member.to_images(FRAMES), num_samples=1)
    assert not any(module.training for module in member.net.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_deviation_of_an_ensemble_is_that_of_all_samples(ensemble: Ensemble):
    (deviation,) = mcdropout.whole_passes_deviation(ensemble, FRAMES, num_samples=3)
    ours = torch.from_numpy(ensemble.estimate_uncertainty(FRAMES, num_samples=3))
    torch.testing.assert_close(deviation, ours, atol=1e-5, rtol=0)
