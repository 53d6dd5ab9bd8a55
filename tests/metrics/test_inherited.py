"""Frames that inherit the class of their clip are scored as so many single examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from lus_ray.metrics import classification, inherited

CLASSES = ("healthy", "other", "COVID-19 pneumonia")


def drawn(seed: int, num_clips: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes of clips, their probabilities, and their frames by what was said of them."""
    rng = np.random.default_rng(seed)
    said = rng.integers(0, 4, (num_clips, 3))
    said[:, 0] += said.sum(axis=1) == 0
    return rng.integers(0, 3, num_clips), rng.dirichlet(np.ones(3), num_clips), said


def one_by_one(target: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class of every frame."""
    clip, predicted = (
        np.repeat(place, said.ravel()) for place in np.indices(said.shape).reshape(2, -1)
    )
    return target[clip], predicted


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_metrics_of_frames_are_those_of_scikit_learn_on_every_frame(seed: int) -> None:
    target, probability, said = drawn(seed)
    found = inherited.score_inherited(target, probability, said, CLASSES)
    true, predicted = one_by_one(target, said)
    assert found["frame_accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    macro = reference.f1_score(true, predicted, average="macro")
    assert found["frame_macro_f1"] == pytest.approx(macro)
    by_class = reference.precision_recall_fscore_support(
        true, predicted, labels=range(3), zero_division=np.nan
    )
    for metric, values in zip(inherited.INHERITED_CLASS_METRICS, by_class, strict=False):
        own = [found[f"{metric} {name}"] for name in CLASSES]
        assert own == pytest.approx(values.tolist(), nan_ok=True), metric


def test_clips_keep_their_own_metrics_beside_those_of_frames() -> None:
    target, probability, said = drawn(0)
    found = inherited.score_inherited(target, probability, said, CLASSES)
    clips = classification.score(target, probability)
    assert {m: found[m] for m in classification.METRICS} == clips.values
    assert set(found.values) == {*classification.METRICS, *inherited.inherited_metrics(CLASSES)}
    assert len(inherited.inherited_metrics(CLASSES)) == 2 + 9


def test_a_class_that_is_not_there_is_undefined_with_its_reason() -> None:
    target, probability = np.array([0, 1]), np.array([[0.8, 0.2, 0], [0.2, 0.8, 0]])
    found = inherited.score_inherited(
        target, probability, np.array([[3, 1, 0], [2, 2, 0]]), CLASSES
    )
    assert found["frame_accuracy"] == 5 / 8
    assert found["frame_precision healthy"] == 3 / 5
    assert found.undefined == {
        "frame_precision COVID-19 pneumonia": "no frame was said to be COVID-19 pneumonia",
        "frame_recall COVID-19 pneumonia": "no frame is COVID-19 pneumonia",
        "frame_f1 COVID-19 pneumonia": "no frame is COVID-19 pneumonia or was said to be",
    }


def test_where_a_probability_is_no_number_frames_are_undefined_too() -> None:
    target, probability, said = drawn(1)
    probability[0] = np.nan
    found = inherited.score_inherited(target, probability, said, CLASSES)
    assert np.isnan(found["frame_accuracy"])
    assert set(found.undefined) == set(found.values)
