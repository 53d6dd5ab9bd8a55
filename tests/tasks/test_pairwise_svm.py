"""Probabilities of pairs of classes, coupled as in LIBSVM."""

import warnings

import numpy as np
import pytest
from sklearn.svm import SVC

from lus_ray.tasks.pairwise_svm import PairwiseSVC, couple, fit_sigmoid, sigmoid


def examples(num_classes, num=240):
    rng = np.random.default_rng(num_classes)
    target = rng.integers(0, num_classes, num)
    centres = rng.normal(size=(num_classes, 8))
    return centres[target] + 1.2 * rng.normal(size=(num, 8)), target


@pytest.fixture(scope="module", params=[2, 3, 7])
def published(request):
    """An SVC that still has probabilities of its own, with examples and their classes."""
    if "probability" not in SVC().get_params():
        pytest.skip("this scikit-learn has no SVC(probability=True)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        svcs = [
            SVC(probability=True, random_state=seed, decision_function_shape="ovo").fit(
                *examples(request.param)
            )
            for seed in range(4)
        ]
        yield svcs, *examples(request.param)


def test_coupled_probabilities_are_those_of_svc(published):
    (svc, *_), x, _ = published
    decisions = svc.decision_function(x)
    decisions = -decisions[:, None] if decisions.ndim == 1 else decisions
    ours = couple(sigmoid(svc.probA_ * decisions + svc.probB_))
    assert np.abs(ours - svc.predict_proba(x)).max() < 1e-12


def test_fitted_probabilities_differ_from_svc_by_no_more_than_its_seeds_do(published):
    svcs, x, y = published
    first, *others = (svc.predict_proba(x) for svc in svcs)
    noise = max(np.abs(first - other).mean() for other in others)
    ours = PairwiseSVC(seed=0).fit(x, y).predict_proba(x)
    assert np.abs(ours - first).mean() < 1.5 * noise
    assert ours.sum(axis=1) == pytest.approx(1)


def test_the_sigmoid_of_decisions_that_follow_one_is_found():
    rng = np.random.default_rng(0)
    decisions = rng.normal(0, 2, 20_000)
    positive = rng.random(20_000) < 1 / (1 + np.exp(-1.5 * decisions + 0.5))
    assert fit_sigmoid(decisions, positive) == pytest.approx((-1.5, 0.5), abs=0.06)


def test_consistent_pairs_give_back_the_probabilities_they_came_from():
    classes = np.array([0.2, 0.3, 0.5])
    pairs = [classes[i] / (classes[i] + classes[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert couple(np.array([pairs]))[0] == pytest.approx(classes, abs=0.005)


@pytest.mark.parametrize("counts", [(1, 1), (1, 9), (2, 1, 1)])
def test_classes_of_one_example_are_no_error(counts):
    target = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(0).normal(size=(len(target), 3))
    probability = PairwiseSVC().fit(x, target).predict_proba(x)
    assert probability.shape == (len(target), len(counts))
    assert probability.sum(axis=1) == pytest.approx(1)
