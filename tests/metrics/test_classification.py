import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import classification


@st.composite
def predictions(draw):
    """Targets and probabilities of 2-7 classes, often with ties and absent classes."""
    num_classes, num_clips = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = rng.permutation(num_classes)[: draw(st.integers(1, num_classes))]
    steps = draw(st.sampled_from([2, 5, 10**6]))
    raw = rng.integers(0, steps, (num_clips, num_classes)) + 0.5
    return rng.choice(present, num_clips), raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.slow
@given(predictions())
@settings(deadline=None, max_examples=50)
@pytest.mark.filterwarnings("ignore")
def test_every_metric_equals_scikit_learn_or_is_undefined_with_a_reason(example):
    target, probability = example
    num_classes, predicted = probability.shape[1], probability.argmax(axis=1)
    scores = classification.score(target, probability)
    weighted = {"average": "weighted", "zero_division": 0}
    expected = {
        "accuracy": oracle.accuracy_score(target, predicted),
        "precision": oracle.precision_score(target, predicted, **weighted),
        "recall": oracle.recall_score(target, predicted, **weighted),
        "f1": oracle.f1_score(target, predicted, **weighted),
        "macro_f1": oracle.f1_score(target, predicted, average="macro"),
        "auc": np.nan,
        "weighted_kappa": np.nan,
    }
    reasons = {}
    if len(set(target)) < 2:
        reasons["auc"] = (
            f"all {len(target)} clips have class {target[0]}; ranking needs two classes"
        )
    elif num_classes == 2:
        expected["auc"] = oracle.roc_auc_score(target, probability[:, 1])
    else:
        expected["auc"] = oracle.roc_auc_score(
            target, probability, multi_class="ovo", average="weighted", labels=range(num_classes)
        )
    if len({*target, *predicted}) < 2:
        reasons["weighted_kappa"] = classification.NO_CHANCE
    else:
        expected["weighted_kappa"] = oracle.cohen_kappa_score(
            target, predicted, weights="quadratic", labels=range(num_classes)
        )
    assert scores.values == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert scores.undefined == reasons


@pytest.mark.parametrize(
    ("target", "probability", "reason"),
    [
        ([0, 1], [[np.nan, 1], [0, 1]], "1 of 2 clips have a probability that is not a number"),
        ([], np.zeros((0, 4)), "no clip was tested"),
    ],
)
def test_unusable_probabilities_leave_every_metric_undefined(target, probability, reason):
    scores = classification.score(np.array(target, int), np.array(probability, float))
    assert np.isnan(list(scores.values.values())).all()
    assert scores.undefined == dict.fromkeys(classification.METRICS, reason)


def test_a_target_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.4 for 4 classes"):
        classification.score(np.array([0, 4]), np.full((2, 4), 0.25))


def test_precision_recall_and_f1_of_each_class_are_those_of_scikit_learn():
    target, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    counts = classification.confusion(target, predicted, num_classes=3)
    assert counts.tolist() == oracle.confusion_matrix(target, predicted).tolist()
    by_class = classification.scores_by_class(counts)
    expected = oracle.precision_recall_fscore_support(target, predicted, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(by_class[name], values)
    assert np.isnan(by_class["precision"][2])
