"""The world of the uninorm: pixels hold the probabilities, and scores follow the known rule."""

import numpy as np
import pytest
import torch

from lus_ray.clip import make_row
from lus_ray.data.phantom.worlds import uninorm
from lus_ray.errors import InputError
from lus_ray.nets import MaxArgmax, Uninorm
from lus_ray.predictor import predict
from lus_ray.tasks import GreyPatches


def read_clips(rule, number=300):
    """Severity and read probabilities (M, K) of each clip."""
    made = [make() for make in uninorm.clips(patients=number, rule=rule).values()]
    task = GreyPatches()
    return made, [torch.from_numpy(predict(task, clip["frames"])["outputs"]) for clip in made]


def test_frames_show_the_probabilities_that_the_score_is_drawn_from():
    made, read = read_clips("uninorm")
    for clip, probability in zip(made, read, strict=True):
        greys = clip["frames"][:, :: uninorm.SQUARE, :: uninorm.SQUARE].reshape(-1, 4)
        expected = greys / greys.sum(axis=1, keepdims=True)
        assert probability.numpy() == pytest.approx(expected, abs=1e-6)
        assert clip["frame_severity"] == probability.argmax(1).tolist()


def test_most_scores_are_those_of_the_true_uninorm():
    made, read = read_clips("uninorm")
    net = Uninorm(initial=uninorm.NEUTRAL)
    decided = [int(net.decide(probability.double().T).argmax()) for probability in read]
    share = np.mean(np.array(decided) == [clip["severity"] for clip in made])
    assert 0.75 < share < 0.95


def test_in_the_twin_the_worst_frame_decides():
    made, read = read_clips("worst frame")
    decided = [int(MaxArgmax().decide(probability.T).argmax()) for probability in read]
    assert decided == [clip["severity"] for clip in made]
    assert min(np.bincount(decided)) > 10


def test_the_definition_equals_the_closed_form_of_the_network():
    rng = np.random.default_rng(0)
    net = Uninorm(initial=uninorm.NEUTRAL)
    for num_frames in (1, 2, 7):
        shares = rng.dirichlet(np.full(4, 3.0), num_frames)
        expected = net(torch.from_numpy(shares.T)).tolist()
        assert uninorm.aggregate(shares) == pytest.approx(expected, abs=1e-12)


def test_clips_are_rows_and_depend_on_seed_and_number_alone():
    few, many = uninorm.clips(patients=2), uninorm.clips(patients=5)
    name = "control/uninorm0001"
    assert np.array_equal(few[name]()["frames"], many[name]()["frames"])
    other = uninorm.clips(patients=2, seed=1)[name]()
    assert not np.array_equal(few[name]()["frames"], other["frames"])
    make_row(**few[name](), clip="control/c", patient="control/p", source="control")
    with pytest.raises(InputError, match="--rule is 'best'"):
        uninorm.clips(rule="best")
