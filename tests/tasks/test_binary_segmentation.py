"""Outlines: one output and two, their losses, probabilities, and what they are uncertain of."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.metrics import segmentation
from lus_ray.nets import PositionPrior, UNet
from lus_ray.tasks import BinarySegmentation
from lus_ray.tasks.losses import balanced_cross_entropy, foreground_dice, one_hot, soft_dice

VIEW = View(num_frames=1, height=8, width=12, num_samples=0)
small = partial(UNet, widths=(4, 8))


def task(net=small, **arguments):
    torch.manual_seed(0)
    return BinarySegmentation(net, view=VIEW, **arguments).eval()


def greys(num_frames=3, seed=0):
    return torch.rand(num_frames, 1, 8, 12, generator=torch.Generator().manual_seed(seed))


def truth(num_frames=3, seed=1):
    return np.random.default_rng(seed).integers(0, 2, (num_frames, 8, 12), np.uint8)


def batch():
    return {"frames": greys(), "masks": torch.from_numpy(truth())[:, None]}


def test_with_one_output_the_loss_is_cross_entropy_and_dice_of_the_b_line():
    made = task()
    losses, chance = made(batch(), "net"), made.net(greys())[:, 0].sigmoid()
    true = torch.from_numpy(truth()).float()
    assert losses.keys() == {"loss", "bce", "dice"}
    assert losses["bce"].item() == pytest.approx(binary_cross_entropy(chance, true).item())
    assert losses["dice"].item() == pytest.approx(foreground_dice(chance, true).item())
    assert losses["loss"].item() == pytest.approx(losses["bce"].item() + losses["dice"].item())


def test_with_two_outputs_both_losses_are_balanced():
    made = task(num_outputs=2)
    losses, logits = made(batch(), "net"), made.net(greys())
    ids = torch.from_numpy(truth())
    assert losses.keys() == {"loss", "cross_entropy", "dice"}
    crossed = balanced_cross_entropy(logits, ids).item()
    dice = soft_dice(logits.softmax(dim=1), one_hot(ids, num_classes=2)).item()
    assert losses["cross_entropy"].item() == pytest.approx(crossed)
    assert losses["dice"].item() == pytest.approx(dice)
    assert losses["loss"].item() == pytest.approx(crossed + dice)


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_the_loss_reaches_every_parameter(num_outputs):
    made = task(num_outputs=num_outputs).train()
    made(batch(), "net")["loss"].backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_losses_are_float32_whatever_the_network_ran_in(num_outputs):
    made = task(num_outputs=num_outputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert made.net(greys()).dtype == torch.bfloat16
        losses = made(batch(), "net")
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    plain = made(batch(), "net")["loss"].item()
    assert losses["loss"].item() == pytest.approx(plain, rel=0.02)


def test_the_u_net_of_mason_2021_has_its_published_number_of_parameters():
    net = partial(UNet, widths=(16, 32, 64, 128), dropout=0.5, bias=True)
    made = task(net)
    assert sum(p.numel() for p in made.parameters()) == 483_153
    assert made.label == "bline masks"
    assert made.classes == ("background", "B-line")


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_both_classes_have_probabilities_that_add_up(num_outputs):
    made = task(num_outputs=num_outputs)
    (probability,) = made.predict_probabilities(greys())
    assert probability.shape == (3, 2, 8, 12)
    assert probability.sum(dim=1).numpy() == pytest.approx(np.ones((3, 8, 12)), abs=1e-6)


@pytest.mark.parametrize(("logit", "said"), [(-9.0, 0), (0.0, 0), (1e-3, 1), (9.0, 1)])
def test_a_pixel_is_b_line_where_that_has_more_than_half(logit, said):
    made = task()
    probability = made.activate(torch.full((1, 1, 1, 1), logit))
    assert probability[0, 1].item() == pytest.approx(1 / (1 + np.exp(-logit)))
    assert made.classify_pixels(probability).item() == said


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_what_is_measured_is_what_is_predicted(num_outputs):
    made, true = task(num_outputs=num_outputs), truth()
    found = made.count_pixels(greys(), true)
    said = made.predict(greys())["masks"]
    counts = segmentation.count_pixels(true, said, num_classes=2)
    assert (found["counts"] == counts.reshape(3, 4)).all()
    assert found["bins"][:, 0].sum() == true.size
    scores = made.score([{"counts": found["counts"]}])
    assert scores["score"] == scores["dice"] == segmentation.score(counts, "bline")["dice"]


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_both_classes_are_equally_uncertain(num_outputs):
    made = task(partial(UNet, widths=(4, 8), dropout=0.5), num_outputs=num_outputs)
    found = made.estimate_uncertainty(greys(), num_samples=4)
    assert found.shape == (3, 2, 8, 12)
    assert found.max() > 0
    assert found[:, 0] == pytest.approx(found[:, 1], abs=1e-6)
    assert task(num_outputs=num_outputs).estimate_uncertainty(greys()) is None


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_a_few_steps_learn_where_things_are(num_outputs):
    made = task(PositionPrior, num_outputs=num_outputs)
    true = np.zeros((4, 8, 12), np.uint8)
    true[:, :, 9:] = 1
    given = {"frames": greys(4), "masks": torch.from_numpy(true)[:, None]}
    optimizer = torch.optim.Adam(made.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        made(given, "net")["loss"].backward()
        optimizer.step()
    counts = made.count_pixels(given["frames"], true)["counts"]
    assert made.score([{"counts": counts}])["score"] > 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_outputs": 3}, "one or two outputs"),
        ({"scheme": "dense", "monitor": "mean_iou"}, "two classes"),
        ({"scheme": "hazy"}, "no scheme 'hazy'"),
        ({"monitor": "mean_iou"}, "metric 'mean_iou'"),
    ],
)
def test_what_cannot_be_an_outline_is_refused_in_one_line(wrong, message):
    with pytest.raises(ArmError, match=message) as caught:
        task(**wrong)
    assert "\n" not in str(caught.value)
