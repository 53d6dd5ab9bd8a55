"""Matched outlines: what they train on, what they never see, and that a saved state repeats it."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.transforms import intensity_matching
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets import UNet
from lus_ray.tasks import BinarySegmentation, MatchedSegmentation

VIEW = View(num_frames=1, height=8, width=12, num_samples=0)
HOW = {"histogram": intensity_matching.match_histogram, "fourier": intensity_matching.match_fourier}
net = partial(UNet, widths=(4, 8))


def task(kind=MatchedSegmentation, **arguments):
    torch.manual_seed(0)
    return kind(net, view=VIEW, **arguments).eval()


def greys(num_frames, seed):
    return torch.rand(num_frames, 1, 8, 12, generator=torch.Generator().manual_seed(seed))


def batch(num_targets=4):
    masks = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 1, 8, 12), np.uint8))
    target = (greys(num_targets, 1) * 0.3).clamp(max=0.2)
    return {"frames": greys(3, 0), "masks": masks, "target_frames": target}


@pytest.mark.parametrize("num_outputs", [1, 2])
@pytest.mark.parametrize("how", HOW)
def test_the_losses_are_those_of_an_outline_on_matched_frames(how, num_outputs):
    made = task(how=how, num_outputs=num_outputs)
    plain = task(BinarySegmentation, num_outputs=num_outputs)
    torch.manual_seed(5)
    losses = made(batch(), "net")
    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
    given = batch()
    given["frames"] = HOW[how](given["frames"], given.pop("target_frames"), generator)
    expected = plain(given, "net")
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    assert not torch.equal(losses["loss"], plain(batch(), "net")["loss"])


@pytest.mark.parametrize("how", HOW)
def test_a_saved_generator_state_repeats_the_partners(how):
    made, state = task(how=how), torch.get_rng_state()
    first, later = (made(batch(), "net")["loss"].item() for _ in range(2))
    assert first != later
    torch.set_rng_state(state)
    assert [made(batch(), "net")["loss"].item() for _ in range(2)] == [first, later]


def test_what_is_given_is_left_as_it_was():
    given, before = batch(), batch()
    task()(given, "net")
    assert all(torch.equal(given[name], before[name]) for name in before)


def test_frames_are_outlined_as_they_are():
    made, plain = task(), task(BinarySegmentation)
    assert (made.predict(greys(3, 0))["masks"] == plain.predict(greys(3, 0))["masks"]).all()


@pytest.mark.parametrize("how", HOW)
def test_the_loss_reaches_every_parameter(how):
    made = task(how=how).train()
    made(batch(), "net")["loss"].backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in made.parameters())


@pytest.mark.parametrize("how", HOW)
def test_mixed_precision_gives_the_same_loss_but_for_rounding(how):
    made, state = task(how=how), torch.get_rng_state()
    plain = made(batch(), "net")["loss"].item()
    torch.set_rng_state(state)
    with torch.autocast("cpu", torch.bfloat16):
        assert made(batch(), "net")["loss"].item() == pytest.approx(plain, rel=0.02)


def test_a_batch_without_unlabelled_frames_is_refused():
    given = batch()
    del given["target_frames"]
    with pytest.raises(ArmError, match="no target_frames in a batch; give the arm Rows"):
        task()(given, "net")


@pytest.mark.usefixtures("unchecked")
def test_frames_of_two_sizes_are_refused_by_both():
    given = batch() | {"target_frames": torch.zeros(2, 1, 16, 12)}
    with pytest.raises(ArmError, match="frames of 8x12 cannot be matched to frames of 16x12"):
        task()(given, "net")


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_matching_is_refused():
    with pytest.raises(ArmError, match="no matching 'gamma'; use one of"):
        task(how="gamma")
