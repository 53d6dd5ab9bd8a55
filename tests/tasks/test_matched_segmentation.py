"""Matched segmentation: which frames it trains on, and that a saved generator repeats them."""

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
every_way = pytest.mark.parametrize("how", HOW)


def make(kind=MatchedSegmentation, **arguments):
    torch.manual_seed(0)
    return kind(partial(UNet, widths=(4, 8)), view=VIEW, **arguments).eval()


def make_batch():
    generator = torch.Generator().manual_seed(0)
    frames, target = (torch.rand(n, 1, 8, 12, generator=generator) for n in (3, 4))
    masks = np.random.default_rng(0).integers(0, 2, (3, 1, 8, 12), np.uint8)
    return {"frames": frames, "masks": torch.from_numpy(masks), "target_frames": target * 0.2}


@pytest.mark.parametrize("num_outputs", [1, 2])
@every_way
def test_the_losses_are_those_of_binary_segmentation_of_matched_frames(how, num_outputs):
    task = make(how=how, num_outputs=num_outputs)
    plain = make(BinarySegmentation, num_outputs=num_outputs)
    batch = make_batch()
    torch.manual_seed(5)
    losses = task(batch, "net")
    assert all(torch.equal(value, batch[name]) for name, value in make_batch().items())
    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
    matched = HOW[how](batch["frames"], batch["target_frames"], generator)
    expected = plain({"frames": matched, "masks": batch["masks"]}, "net")
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    assert not torch.equal(losses["loss"], plain(batch, "net")["loss"])


@every_way
def test_a_saved_generator_state_repeats_the_partners(how):
    task, state = make(how=how), torch.get_rng_state()
    losses = [task(make_batch(), "net")["loss"].item() for _ in range(2)]
    assert losses[0] != losses[1]
    torch.set_rng_state(state)
    assert [task(make_batch(), "net")["loss"].item() for _ in range(2)] == losses


def test_frames_are_predicted_without_matching():
    frames = make_batch()["frames"]
    predicted, expected = (
        make(k).predict(frames) for k in (MatchedSegmentation, BinarySegmentation)
    )
    assert (predicted["masks"] == expected["masks"]).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "no target_frames in a batch; give the arm Rows"),
        (torch.zeros(2, 1, 16, 12), "frames of 8x12 cannot be matched to frames of 16x12"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(target, message):
    batch = {n: v for n, v in (make_batch() | {"target_frames": target}).items() if v is not None}
    with pytest.raises(ArmError, match=message):
        make()(batch, "net")
