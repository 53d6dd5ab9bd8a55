"""Metrics of one label: equal to scikit-learn, and undefined with a reason."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import classification

EXACT = 1e-12


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of 2-7 classes, often with ties and absent classes."""
    num_classes, num_clips = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = rng.permutation(num_classes)[: draw(st.integers(1, num_classes))]
    target = rng.choice(present, num_clips)
    steps = draw(st.sampled_from([2, 5, 10**6]))
    raw = rng.integers(0, steps, (num_clips, num_classes)) + 0.5
    return target, raw / raw.sum(axis=1, keepdims=True)


@given(predictions())
@settings(deadline=None)
def test_every_metric_equals_scikit_learn(example: tuple[np.ndarray, np.ndarray]) -> None:
    target, probability = example
    predicted = probability.argmax(axis=1)
    found = classification.score(target, probability)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": oracle.accuracy_score(target, predicted),
            "precision": oracle.precision_score(
                target, predicted, average="weighted", zero_division=0
            ),
            "recall": oracle.recall_score(target, predicted, average="weighted"),
            "f1": oracle.f1_score(target, predicted, average="weighted"),
            "macro_f1": oracle.f1_score(target, predicted, average="macro"),
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=EXACT)


@given(predictions())
@settings(deadline=None)
def test_auc_equals_weighted_one_against_one_of_scikit_learn(
    example: tuple[np.ndarray, np.ndarray],
) -> None:
    target, probability = example
    num_classes = probability.shape[1]
    found = classification.score(target, probability)
    if len(set(target)) < 2:
        assert np.isnan(found["auc"])
        assert "ranking needs two classes" in found.undefined["auc"]
    elif num_classes == 2:
        assert found["auc"] == pytest.approx(
            oracle.roc_auc_score(target, probability[:, 1]), abs=EXACT
        )
    else:
        expected = oracle.roc_auc_score(
            target, probability, multi_class="ovo", average="weighted", labels=range(num_classes)
        )
        assert found["auc"] == pytest.approx(expected, abs=EXACT)


@given(predictions())
@settings(deadline=None)
def test_weighted_kappa_equals_quadratic_kappa_of_scikit_learn(
    example: tuple[np.ndarray, np.ndarray],
) -> None:
    target, probability = example
    predicted, found = probability.argmax(axis=1), classification.score(target, probability)
    if len({*target, *predicted}) < 2:
        assert np.isnan(found["weighted_kappa"])
        assert found.undefined["weighted_kappa"] == classification.NO_CHANCE
    else:
        expected = oracle.cohen_kappa_score(
            target, predicted, weights="quadratic", labels=range(probability.shape[1])
        )
        assert found["weighted_kappa"] == pytest.approx(expected, abs=EXACT)


def test_swapping_two_classes_has_kappa_minus_one() -> None:
    counts = np.array([[0.0, 3.0], [3.0, 0.0]])
    assert classification.weighted_kappa(counts) == -1


def test_a_far_disagreement_costs_more_kappa_than_a_near_one() -> None:
    target = np.array([0, 1, 2, 3])
    near, far = np.eye(4)[[1, 1, 2, 3]], np.eye(4)[[3, 1, 2, 3]]
    found = [classification.score(target, predicted) for predicted in (near, far)]
    assert found[0]["accuracy"] == found[1]["accuracy"]
    assert found[0]["weighted_kappa"] > found[1]["weighted_kappa"]


def test_two_of_four_right_is_one_half() -> None:
    probability = np.eye(2)[[0, 1, 0, 1]]
    assert classification.score(np.array([0, 0, 1, 1]), probability)["accuracy"] == 0.5


def test_equal_probabilities_rank_at_one_half() -> None:
    assert classification.score(np.array([0, 1, 2]), np.full((3, 3), 1 / 3))["auc"] == 0.5


def test_confusion_has_true_classes_as_rows() -> None:
    counts = classification.confusion(np.array([0, 0, 1]), np.array([1, 1, 1]), num_classes=2)
    assert counts.tolist() == [[0, 2], [0, 1]]


def test_a_probability_that_is_no_number_leaves_every_metric_undefined() -> None:
    found = classification.score(np.array([0, 1]), np.array([[np.nan, 1.0], [0.0, 1.0]]))
    assert all(np.isnan(value) for value in found.values.values())
    assert found.undefined["accuracy"] == "1 of 2 clips have a probability that is not a number"


def test_no_clips_leave_every_metric_undefined() -> None:
    found = classification.score(np.zeros(0, int), np.zeros((0, 4)))
    assert set(found.undefined) == set(classification.METRICS)


def test_a_target_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.4 for 4 classes"):
        classification.score(np.array([0, 4]), np.full((2, 4), 0.25))


def test_precision_recall_and_f1_of_each_class_are_those_of_scikit_learn():
    target = np.array([0, 0, 1, 1, 1, 2])
    predicted = np.array([0, 1, 1, 1, 0, 1])
    found = classification.scores_by_class(
        classification.confusion(target, predicted, num_classes=3)
    )
    expected = oracle.precision_recall_fscore_support(target, predicted, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(found[name], values)
    assert np.isnan(found["precision"][2])
