"""Binary segmentation: its losses with one output and two, and the threshold."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy
from torch.testing import assert_close

from lus_ray.nets import UNet
from lus_ray.tasks import BinarySegmentation
from lus_ray.tasks.losses import balanced_cross_entropy, foreground_dice, one_hot, soft_dice
from tests.tasks.conftest import SIZE, VIEW, greys


def make(**arguments):
    torch.manual_seed(0)
    return BinarySegmentation(partial(UNet, widths=(4, 8)), view=VIEW, **arguments).eval()


@pytest.mark.parametrize(("num_outputs", "name"), [(1, "bce"), (2, "cross_entropy")])
def test_the_loss_is_the_sum_of_cross_entropy_and_dice(num_outputs, name):
    task, frames = make(num_outputs=num_outputs), greys(3)
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (3, *SIZE), np.uint8))
    losses, logits = task({"frames": frames, "masks": ids[:, None]}, "net"), task.net(frames)
    if num_outputs == 1:
        probability, true = logits[:, 0].sigmoid(), ids.float()
        entropy = binary_cross_entropy(probability, true)
        dice = foreground_dice(probability, true)
    else:
        entropy = balanced_cross_entropy(logits, ids)
        dice = soft_dice(logits.softmax(dim=1), one_hot(ids, num_classes=2))
    assert_close(losses, {name: entropy, "dice": dice, "loss": entropy + dice})


@pytest.mark.parametrize(("logit", "expected"), [(-9.0, 0), (0.0, 0), (1e-3, 1), (9.0, 1)])
def test_a_pixel_is_a_b_line_above_one_half(logit, expected):
    task = make()
    assert (task.label, task.classes) == ("bline masks", ("background", "B-line"))
    probability = task.activate(torch.full((1, 1, 1, 1), logit))
    assert probability[0, 1].item() == pytest.approx(1 / (1 + np.exp(-logit)))
    assert task.classify_pixels(probability).item() == expected
