"""The measure of the control of frame_scores: whether a crop holds a mark."""

import numpy as np
import pytest
import torch

from experiments.controls import frame_scores as control
from lus_ray.clip import make_row
from lus_ray.control import Trained
from lus_ray.data.phantom.worlds import marks
from lus_ray.nets.crops import crop_corners
from lus_ray.predictor import Predictor
from lus_ray.training import checkpoint

MARK = np.zeros((10, 20), bool)
MARK[2:4, 4:8] = True


@pytest.mark.parametrize(
    ("theta", "inside"),
    [
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], True),
        ([[0.2, 0.0, -0.4], [0.0, 0.2, -0.4]], True),  # exactly the mark
        ([[0.19, 0.0, -0.3], [0.0, 0.2, -0.4]], False),
        ([[0.0, 0.2, -0.4], [-0.2, 0.0, -0.4]], True),  # a quarter turn
        ([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]], False),
    ],
)
def test_a_crop_holds_a_mark_with_all_its_pixels(theta, inside):
    assert control.is_inside(MARK, crop_corners(torch.tensor(theta)).numpy()) == inside


@pytest.mark.parametrize(("place", "least", "most"), [((0.3, 0.3), 0, 0.3), ((-0.2, 0.3), 1, 1)])
def test_a_crop_at_its_first_place_cuts_marks_and_one_at_the_left_holds_them(
    place, least, most, tmp_path
):
    arm = control.EXPERIMENT.arm(control.CROPS)
    task = arm.task().eval()
    with torch.no_grad():
        task.net.localiser.heads["translation"].bias[:2] = torch.tensor(place)
        task.net.localiser.heads["rotation"].bias.zero_()
    clip = make_row(
        **marks.clips(patients=1, frames=20)["control/marks0000"](),
        clip="control/c",
        patient="control/p",
        source="control",
    )
    checkpoint.save(tmp_path / "checkpoint", task, checkpoint.describe(arm.task), seed=0)
    predictor = Predictor(tmp_path / "checkpoint")
    share = control.find_marks(Trained(arm.name, 0, predictor, (clip,)))
    assert least <= share <= most


def test_the_frozen_crop_differs_from_the_control_in_the_rate_of_the_localiser_alone():
    for experiment, factor in ((control.EXPERIMENT, 2.0), (control.FROZEN, 0.0)):
        task = experiment.arm(control.CROPS).task()
        assert task.lr_factor("net.localiser.hidden.weight") == factor
        assert task.lr_factor("net.classifier.out.weight") == 1
