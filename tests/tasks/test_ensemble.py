"""Ensembles: the mean of what the members say, how they disagree, and who may join."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CellError
from lus_ray.metrics import segmentation as overlap
from lus_ray.nets import MarkerUNet, PositionPrior, ReleasedDeepLab, UNet
from lus_ray.tasks import Ensemble, Segmentation, segmentation

VIEW = View(num_frames=1, height=20, width=40, num_samples=0)
markers = partial(Segmentation, scheme="markers", view=VIEW, monitor="union_dice")
prior = partial(markers, net=partial(PositionPrior, rows=4, columns=8))
MEMBERS = (
    prior,
    partial(markers, net=partial(MarkerUNet, width=4), channels=3, centred=True),
    partial(markers, net=partial(ReleasedDeepLab, width=8), channels=3, centred=True),
)


def together(*members, **arguments):
    """An ensemble whose members know something of their own."""
    torch.manual_seed(0)
    made = Ensemble(members, **arguments)
    for member in made.net:
        for parameter in member.net.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def greys(num_frames=3):
    return torch.rand(num_frames, 1, 20, 40, generator=torch.Generator().manual_seed(0))


def said(task, frames):
    return torch.cat(list(task.predict_probabilities(frames)))


def test_probabilities_are_the_unweighted_mean_of_those_of_the_members():
    made, frames = together(*MEMBERS), greys()
    apart = [said(member, frames).numpy() for member in made.net]
    assert said(made, frames).numpy() == pytest.approx(np.mean(apart, axis=0), abs=1e-7)
    assert all(np.abs(one - two).max() > 0.01 for one, two in pairwise(apart))


def test_one_member_alone_is_the_member():
    made = together(MEMBERS[1])
    assert torch.equal(said(made, greys()), said(made.net[0], greys()))


def test_the_mean_decides_and_not_the_majority():
    """Two members lean to class 1, one is sure of class 2."""
    made = together(prior, prior, prior)
    with torch.no_grad():
        for member, chances in zip(made.net, [(55, 45), (55, 45), (1, 99)], strict=True):
            member.net.out["weight"].fill_(-30)
            for k, chance in zip((1, 2), chances, strict=True):
                member.net.out["weight"][k] = float(np.log(chance / 100))
    assert (made.predict(greys())["masks"] == 2).all()


def test_counts_are_those_of_the_mean_in_chunks_too(monkeypatch):
    made, frames = together(*MEMBERS), greys()
    true = np.random.default_rng(0).integers(0, 5, (3, 20, 40), np.uint8)
    whole = made.count_pixels(frames, true)
    masks = said(made, frames).argmax(dim=1).numpy().astype(np.uint8)
    assert (
        whole["counts"] == overlap.count_pixels(true, masks, num_classes=5).reshape(3, 25)
    ).all()
    monkeypatch.setattr(segmentation, "CHUNK_PIXELS", 2 * 800)
    assert [len(part) for part in made.predict_probabilities(frames)] == [2, 1]
    again = made.count_pixels(frames, true)
    assert (again["counts"] == whole["counts"]).all()
    assert again["bins"] == pytest.approx(whole["bins"], rel=1e-5)


def test_boosts_of_the_ensemble_act_on_the_mean_and_those_of_members_do_not():
    boosting = together(*(partial(member, boost=(9, 1, 1, 1, 1)) for member in MEMBERS))
    assert torch.equal(said(boosting, greys()), said(together(*MEMBERS), greys()))
    assert boosting.boost == ()
    made = together(*MEMBERS, boost=(1, 1, 2, 2, 2))
    assert (
        made.predict(greys())["masks"] == made.classify_pixels(said(made, greys())).numpy()
    ).all()
    assert (made.predict(greys())["masks"] != together(*MEMBERS).predict(greys())["masks"]).any()


def test_members_that_agree_and_never_drop_are_sure_of_it():
    made = together(prior, prior)
    made.net[1].load_state_dict(made.net[0].state_dict())
    assert made.estimate_uncertainty(greys(), num_samples=3) == pytest.approx(0, abs=1e-3)


def test_uncertainty_of_members_without_dropout_is_how_far_they_are_apart():
    made, frames = together(prior, prior, prior), greys()
    apart = np.stack([said(member, frames).numpy() for member in made.net])
    found = made.estimate_uncertainty(frames, num_samples=3)
    assert found == pytest.approx(apart.std(axis=0), abs=1e-4)
    assert found.max() > 0.05


def test_uncertainty_joins_that_of_each_member_with_how_far_they_are_apart():
    dropping = partial(markers, net=partial(UNet, widths=(4, 8), dropout=0.5))
    made, frames = together(dropping, prior), greys(2)
    alone = made.net[0].estimate_uncertainty(frames, num_samples=6)
    found = made.estimate_uncertainty(frames, num_samples=6)
    assert found.shape == alone.shape == (2, 5, 20, 40)
    # Equal shares: half of the variance within the first member is the least there can be.
    assert (found**2 >= alone**2 / 2 - 1e-5).all()
    assert np.array_equal(found, made.estimate_uncertainty(frames, num_samples=6))


def test_it_takes_scheme_view_truth_and_monitor_of_its_members():
    made = together(*(partial(member, smooth=3) for member in MEMBERS))
    assert (made.scheme, made.view, made.monitor) == ("markers", VIEW, "union_dice")
    assert made.smooth == 3
    drawn = np.random.default_rng(0).integers(0, 5, (2, 20, 40), np.uint8)
    row = {"mask_scheme": "markers"}
    assert (made.prepare_truth(drawn, row) == made.net[0].prepare_truth(drawn, row)).all()
    assert (made.prepare_truth(drawn, row) != together(*MEMBERS).prepare_truth(drawn, row)).any()
    assert made.label == "markers masks"
    assert len(list(made.net)) == 3


def test_a_member_without_a_number_ends_the_cell():
    made = together(*MEMBERS)
    with torch.no_grad():
        made.net[0].net.out["weight"][0] = torch.nan
    with pytest.raises(CellError, match="not a number"):
        made.predict(greys())


@pytest.mark.parametrize(
    "members",
    [
        (),
        (prior, partial(Segmentation, net=PositionPrior, scheme="dense", view=VIEW)),
        (prior, partial(prior, view=View(num_frames=1, height=20, width=20, num_samples=0))),
        (prior, partial(prior, smooth=3)),
    ],
)
def test_members_that_do_not_fit_are_refused_in_one_line(members):
    with pytest.raises(ArmError, match="same scheme and view") as caught:
        Ensemble(members)
    assert "\n" not in str(caught.value)
