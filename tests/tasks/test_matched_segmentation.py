"""Matched segmentation: which frames it trains on, and that a saved generator repeats them."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.transforms import intensity_matching
from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter, UNet
from lus_ray.tasks import BinarySegmentation, MatchedSegmentation, Sifa
from tests.tasks.conftest import SIZE, VIEW, greys

HOW = {"histogram": intensity_matching.match_histogram, "fourier": intensity_matching.match_fourier}
every_way = pytest.mark.parametrize("how", HOW)
SMALL = partial(SifaSegmenter, width=1)


def make(kind=MatchedSegmentation, **arguments):
    torch.manual_seed(0)
    return kind(partial(UNet, widths=(4, 8)), view=VIEW, **arguments).eval()


def make_batch():
    masks = np.random.default_rng(0).integers(0, 2, (3, 1, *SIZE), np.uint8)
    targets = greys(4, seed=1) * 0.2
    return {"frames": greys(3), "masks": torch.from_numpy(masks), "target_frames": targets}


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
    ("task", "network", "sizes"),
    [
        (make, "net", "frames of 16x24 cannot be matched to frames of 16x12"),
        (
            partial(Sifa, SMALL, view=VIEW),
            "translator",
            "frames of 16x24 and 16x12 pixels; give one view",
        ),
    ],
)
def test_a_batch_without_target_frames_of_this_size_is_refused(task, network, sizes):
    batch = make_batch()
    with pytest.raises(ArmError, match=sizes):
        task()(batch | {"target_frames": torch.zeros(2, 1, 16, 12)}, network)
    del batch["target_frames"]
    with pytest.raises(
        ArmError, match=r"no target_frames in a batch; give the arm Rows\(unlabelled"
    ):
        task()(batch, network)
