import numpy as np
import pytest
from sklearn import metrics as oracle

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS
from lus_ray.metrics import multilabel


def test_each_label_equals_scikit_learn_over_its_judged_entries():
    rng, shape = np.random.default_rng(0), (40, len(BIOMARKERS))
    target, probability = rng.integers(-1, 2, shape), np.round(rng.random(shape), 1)
    scores = multilabel.score(target, probability, BIOMARKERS)
    judged = target >= 0
    expected = oracle.f1_score(target[judged], probability[judged] >= 0.5)
    assert scores["micro_f1"] == pytest.approx(expected, abs=1e-12)
    for k, name in enumerate(BIOMARKERS):
        judged = target[:, k] >= 0
        truth, chance = target[judged, k], probability[judged, k]
        predicted = chance >= 0.5
        expected = {
            "auc": oracle.roc_auc_score(truth, chance),
            "accuracy": oracle.accuracy_score(truth, predicted),
            "precision": oracle.precision_score(
                truth, predicted, average="weighted", zero_division=0
            ),
            "f1": oracle.f1_score(truth, predicted, average="weighted"),
        }
        values = scores.by_label[name].values
        assert {m: values[m] for m in expected} == pytest.approx(expected, abs=1e-12)


def test_the_mean_runs_over_the_defined_labels_only():
    target = np.array([[1, 0, -1], [0, 0, -1]])
    probability = np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.5]])
    scores = multilabel.score(target, probability, ("a", "b", "c"))
    assert scores["auc"] == 1.0
    assert scores["accuracy"] == 0.75
    assert scores.num_judged == {"a": 2, "b": 2, "c": 0}
    assert scores.by_label["b"].undefined["auc"].startswith("absent in all 2 judged clips")
    assert scores.by_label["c"].undefined["accuracy"] == "no entry was judged"


def test_nothing_judged_is_undefined_and_says_so():
    scores = multilabel.score(np.full((2, 2), -1), np.full((2, 2), 0.9), ("a: x", "a: y"))
    assert set(scores.undefined) == set(multilabel.METRICS)


def test_a_group_is_hit_where_its_most_probable_level_is_present():
    target = np.array([[1, 0], [1, 1], [0, 0], [-1, 1]])
    probability = np.array([[0.1, 0.2], [0.1, 0.2], [0.9, 0.1], [0.1, 0.9]])
    scores = multilabel.score(target, probability, ("g: few", "g: many"))
    assert scores["group_accuracy"] == 0.5


def test_groups_are_those_of_the_biomarkers():
    sizes = [len(columns) for columns in multilabel.group_columns(BIOMARKERS)]
    assert sizes == [len(levels) for levels in BIOMARKER_GROUPS.values()]
