"""Whole passes sample what Monte Carlo dropout samples; speed itself is not asserted."""

from functools import partial

import pytest
import torch

from lus_ray.bench import mcdropout
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.nets import MarkerUNet, ReleasedDeepLab, ReleasedUNetPlusPlus
from lus_ray.nets.mc_dropout import mc_dropout

SMALL = {
    "U-Net": partial(MarkerUNet, width=4),
    "U-Net++": partial(ReleasedUNetPlusPlus, width=8),
    "DeepLab": partial(ReleasedDeepLab, width=8),
}
VIEW = View(num_frames=1, height=40, width=60, num_samples=0)


def test_the_ensemble_and_every_member_are_measured():
    results = mcdropout.measure(1, nets=SMALL, view=VIEW, num_samples=2)
    assert list(results) == ["ensemble of 3", *SMALL]
    for measured in results.values():
        assert [baseline.name for baseline in measured.baselines] == ["whole passes"]
        assert measured.target == 2
        assert measured.threads == 1
        assert measured.wall_ms > 0


@pytest.mark.parametrize("name", SMALL)
def test_whole_passes_have_the_moments_of_ours(name: str):
    frames = torch.rand(2, 1, 40, 60, generator=torch.Generator().manual_seed(0))
    member = mcdropout.example(SMALL, VIEW, frames).net[list(SMALL).index(name)]
    images = member.to_images(frames)
    ours = mc_dropout(member.net, images, num_samples=5, generator_seed=1)
    theirs = mcdropout.whole_passes(member.net, images, num_samples=5, seed=1)
    mcdropout.check_equal(ours, theirs, name)
    others = mcdropout.whole_passes(member.net, images, num_samples=5, seed=2)
    with pytest.raises(LusError, match="whole passes of the net differ from ours by"):
        mcdropout.check_equal(ours, others, "net")


def test_chance_and_modes_are_as_before_whole_passes():
    net = MarkerUNet(width=4).eval()
    images = torch.rand(1, 3, 40, 60)
    state = torch.get_rng_state()
    mcdropout.whole_passes(net, images, num_samples=1)
    assert not any(module.training for module in net.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_without_dropout_get_no_ratio():
    alike = (torch.full((1, 2, 4, 4), 0.5), torch.zeros(1, 2, 4, 4))
    with pytest.raises(LusError, match="samples of the U-Net are alike"):
        mcdropout.check_equal(alike, alike, "U-Net")


def test_the_deviation_of_two_members_that_differ_counts_as_that_of_their_samples():
    frames = torch.rand(2, 1, 40, 60, generator=torch.Generator().manual_seed(0))
    ensemble = mcdropout.example({"a": SMALL["U-Net"], "b": SMALL["U-Net++"]}, VIEW, frames)
    (joined,) = mcdropout.joined(ensemble, frames, num_samples=3)
    ours = torch.from_numpy(ensemble.estimate_uncertainty(frames, num_samples=3))
    torch.testing.assert_close(joined, ours, atol=1e-5, rtol=0)
