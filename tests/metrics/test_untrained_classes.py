"""A class that is absent from training has no score, in any metric, and averages leave it out."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import classification, frames, multilabel, patient_counts, segmentation
from lus_ray.metrics.frames import select_frames

PATIENTS = [f"p{k % 5}" for k in range(40)]
NAMES = ("a", "b", "c", "d")
WHOLE = np.ones(4, bool)
WITHOUT_D = np.array([True, True, True, False])


def probabilities(num_classes=4):
    return np.random.default_rng(1).dirichlet(np.ones(num_classes), 40)


TARGET = np.random.default_rng(2).integers(0, 4, 40)
LABELS = np.random.default_rng(3).integers(-1, 2, (40, 4))
MEMBERS = select_frames([TARGET.tolist()], [[1, 1]])
GROUPS = ("g: few", "g: many", "h: few", "h: many")


def of_classes(trained):
    arrays = (TARGET, probabilities())
    counted = patient_counts.count_classes(PATIENTS, *arrays, trained)
    return classification.score(*arrays, trained), counted


def of_frames(trained):
    arrays = (TARGET, probabilities(), MEMBERS)
    return frames.score(*arrays, trained), patient_counts.count_frames(PATIENTS, *arrays, trained)


def of_inherited(trained):
    counts = np.random.default_rng(4).integers(0, 6, (40, 4))
    arrays = (TARGET, probabilities(), counts, NAMES)
    counted = patient_counts.count_inherited(PATIENTS, *arrays, trained)
    return frames.score_inherited(*arrays, trained), counted


def of_labels(trained):
    arrays = (LABELS, np.random.default_rng(5).random((40, 4)), GROUPS)
    counted = patient_counts.count_labels(PATIENTS, *arrays, trained)
    return multilabel.score(*arrays, trained), counted


def of_masks(scheme):
    def score(trained):
        num_classes = len(MASK_SCHEMES[scheme])
        counts = np.random.default_rng(6).integers(1, 9, (40, num_classes, num_classes))
        last = None if trained is None else np.append(np.ones(num_classes - 1, bool), trained[-1])
        counted = patient_counts.count_pixels(PATIENTS, counts, scheme, last)
        return segmentation.score(counts, scheme, last), counted

    return score


KINDS = {
    "classes": of_classes,
    "frames": of_frames,
    "inherited": of_inherited,
    "labels": of_labels,
    **{f"{scheme} masks": of_masks(scheme) for scheme in MASK_SCHEMES},
}
OF_LAST_CLASS = {
    "inherited": [f"{metric} d" for metric in frames.INHERITED_CLASS_METRICS],
    "dense masks": [f"iou {MASK_SCHEMES['dense'][-1]}"],
    "sparse masks": [f"iou {MASK_SCHEMES['sparse'][-1]}"],
    "markers masks": [f"dice {MASK_SCHEMES['markers'][-1]}"],
    "bline masks": [*segmentation.METRICS["bline"]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_where_every_class_was_trained(kind):
    known, unmarked = (KINDS[kind](trained)[0] for trained in (WHOLE, None))
    np.testing.assert_equal(known.values, unmarked.values)
    assert known.undefined == unmarked.undefined


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_class_has_no_score_and_a_reason(kind):
    scores, _ = KINDS[kind](WITHOUT_D)
    undefined = {name for name, value in scores.values.items() if np.isnan(value)}
    assert undefined >= set(OF_LAST_CLASS.get(kind, ()))
    assert undefined == set(scores.undefined)
    assert all("no training" in scores.undefined[name] for name in OF_LAST_CLASS.get(kind, ()))


@pytest.mark.parametrize("kind", KINDS)
def test_resampled_patients_leave_out_the_same_classes(kind):
    scores, counted = KINDS[kind](WITHOUT_D)
    drawn = counted.metrics(np.ones((1, len(counted.patients))))
    for name, value in scores.values.items():
        np.testing.assert_allclose(drawn[name], value, rtol=1e-12, err_msg=name)


def test_averages_over_classes_are_those_of_the_trained_ones():
    scores, _ = of_classes(WITHOUT_D)
    probability, kept = probabilities(), TARGET < 3
    predicted = probability.argmax(axis=1)
    pairs = classification.score(TARGET[kept], probability[kept])
    assert scores["auc"] == pytest.approx(pairs["auc"])
    assert scores["accuracy"] == np.mean(predicted == TARGET)
    assert scores["recall"] == recall_score(TARGET[kept], predicted[kept], average="micro")
    known = {"labels": [0, 1, 2], "zero_division": 0}
    assert scores["macro_f1"] == pytest.approx(
        f1_score(TARGET, predicted, average="macro", **known)
    )
    assert scores["f1"] == pytest.approx(f1_score(TARGET, predicted, average="weighted", **known))


def test_two_classes_of_which_one_was_trained_have_no_auc():
    target, probability = np.array([0, 0, 3]), np.eye(4)[[0, 0, 3]]
    assert classification.score(target, probability)["auc"] == 1.0
    scores = classification.score(target, probability, np.array([True, True, True, False]))
    assert np.isnan(scores["auc"])
    assert scores.undefined == {
        "auc": "no training clip has the class of a test clip; ranking needs two trained classes"
    }
    assert scores["accuracy"] == 1.0


def test_a_test_side_of_untrained_classes_alone_has_an_accuracy_and_no_average():
    target, probability = np.array([3, 3]), np.eye(4)[[0, 3]]
    scores = classification.score(target, probability, WITHOUT_D)
    assert scores["accuracy"] == 0.5
    assert all(np.isnan(scores[name]) for name in ("auc", "precision", "recall", "f1"))
    assert scores.undefined["f1"] == classification.NOT_TRAINED


def test_a_single_tested_class_has_no_auc():
    clips = np.zeros(4, int), np.eye(4)[[0, 0, 1, 0]]
    for classes, name in ((None, "0"), (("healthy", "COPD", "ILD", "other"), "healthy")):
        scores = classification.score(*clips, classes=classes)
        assert np.isnan(scores["auc"])
        assert (
            scores.undefined["auc"] == f"all 4 clips have class {name}; ranking needs two classes"
        )


def test_a_label_that_was_not_trained_counts_nowhere():
    probability = np.random.default_rng(5).random((40, 4))
    scores, _ = of_labels(WITHOUT_D)
    alone = multilabel.score(LABELS[:, :3], probability[:, :3], GROUPS[:3])
    np.testing.assert_equal(dict(scores.values), dict(alone.values))
    own = scores.by_label["h: many"]
    assert all(np.isnan(value) for value in own.values.values())
    assert scores.num_judged["h: many"] == (LABELS[:, 3] >= 0).sum()
    judged = LABELS[:, 0] >= 0
    assert scores.by_label["g: few"]["auc"] == pytest.approx(
        roc_auc_score(LABELS[judged, 0], probability[judged, 0])
    )


def test_the_spread_over_images_takes_the_images_of_folds_that_trained_the_class():
    counts = np.random.default_rng(6).integers(1, 9, (4, 5, 5))
    trained = np.ones((4, 5), bool)
    trained[:2, 4] = False
    name = f"dice {MASK_SCHEMES['markers'][4]}"
    spread = segmentation.spread_over_images(counts, "markers", trained)
    alone = segmentation.spread_over_images(counts[2:], "markers")
    assert (spread[name].num_images, spread[name].mean) == (2, alone[name].mean)
    assert spread["union_dice"].num_images == 4
