"""Ensembles: the mean of the members' probabilities, and how much they disagree."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.nets import PositionPrior, UNet
from lus_ray.tasks import Ensemble, Segmentation
from tests.tasks.conftest import SIZE, VIEW, greys

markers = partial(Segmentation, scheme="markers", view=VIEW, monitor="union_dice")
prior = partial(markers, net=partial(PositionPrior, rows=4, columns=8))
MEMBERS = (prior, partial(markers, net=partial(UNet, widths=(4, 8))))


def make(*members, **arguments):
    """An ensemble whose members differ."""
    torch.manual_seed(0)
    task = Ensemble(members, **arguments)
    for member in task.net:
        for parameter in member.net.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return task.eval()


def probabilities(task, frames):
    return torch.cat(list(task.predict_probabilities(frames))).numpy()


def test_the_mean_decides_and_not_the_majority():
    task = make(prior, prior, prior)
    with torch.no_grad():
        for member, shares in zip(task.net, [(55, 45), (55, 45), (1, 99)], strict=True):
            member.net.out["weight"].fill_(-30)
            for k, share in zip((1, 2), shares, strict=True):
                member.net.out["weight"][k] = float(np.log(share / 100))
    assert (task.predict(greys())["masks"] == 2).all()


def test_only_the_boost_of_the_ensemble_is_used():
    plain, frames = make(*MEMBERS), greys()
    members = make(*(partial(member, boost=(9, 1, 1, 1, 1)) for member in MEMBERS))
    assert np.array_equal(probabilities(members, frames), probabilities(plain, frames))
    assert members.boost == ()
    boosted = make(*MEMBERS, boost=(1, 1, 2, 2, 2))
    mean = torch.from_numpy(probabilities(plain, frames))
    predicted = boosted.predict(frames)["masks"]
    assert (predicted == boosted.classify_pixels(mean).numpy()).all()
    assert (predicted != plain.predict(frames)["masks"]).any()


def test_uncertainty_without_dropout_is_the_deviation_between_members():
    task, frames = make(prior, prior, prior), greys()
    parts = np.stack([probabilities(member, frames) for member in task.net])
    deviation = task.estimate_uncertainty(frames, num_samples=3)
    assert deviation == pytest.approx(parts.std(axis=0), abs=1e-4)
    assert deviation.max() > 0.05
    for member in task.net:
        member.load_state_dict(task.net[0].state_dict())
    assert task.estimate_uncertainty(frames, num_samples=3) == pytest.approx(0, abs=1e-3)


def test_uncertainty_adds_the_variance_within_and_between_members():
    dropping = partial(markers, net=partial(UNet, widths=(4, 8), dropout=0.5))
    task, frames = make(dropping, prior), greys(2)
    within = task.net[0].estimate_uncertainty(frames, num_samples=6)
    deviation = task.estimate_uncertainty(frames, num_samples=6)
    assert deviation.shape == within.shape == (2, 5, *SIZE)
    assert (deviation**2 >= within**2 / 2 - 1e-5).all()  # each member has half of the weight
    assert np.array_equal(deviation, task.estimate_uncertainty(frames, num_samples=6))


def test_an_ensemble_has_the_scheme_view_smoothing_and_monitor_of_its_members():
    task = make(*(partial(member, smooth=3) for member in MEMBERS))
    assert (task.scheme, task.view, task.monitor) == ("markers", VIEW, "union_dice")
    assert (task.smooth, task.label, len(task.net)) == (3, "markers masks", 2)
