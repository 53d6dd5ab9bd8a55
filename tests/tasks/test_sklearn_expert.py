"""Experts of clips and of single frames."""

import numpy as np
import pytest

from lus_ray.errors import ArmError, CellError
from lus_ray.tasks import Expert
from lus_ray.tasks.sklearn_expert import EXPERTS, PLAIN, fit_classifier


def frame_rows(num_clips=12, num_frames=5, noise=0.1):
    """Clips whose first feature is the score of the frame, from 0 to 3 within each clip."""
    rng = np.random.default_rng(0)
    table = []
    for _ in range(num_clips):
        scores = rng.integers(0, 4, num_frames)
        features = np.stack([scores + noise * rng.normal(size=num_frames)] * 2, axis=1)
        table.append({"frame_severity": scores.tolist(), "features": features.tolist()})
    return table


def clip_rows(num_clips=30, num_samples=3, num_features=24):
    """Clips of four severities in turn, each with samples of noise around its own score."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(num_clips, num_samples, num_features))
    return [{"severity": n % 4, "features": (n % 4 + noise[n]).tolist()} for n in range(num_clips)]


def fitted(kind, label="frame_severity", rows=None, val=()):
    expert = Expert(kind, label, inputs="features", fits=1)
    rows = rows or (frame_rows() if label == "frame_severity" else clip_rows())
    return expert, expert.fit_rows(rows, val, seed=0)


def test_every_frame_is_an_example_with_its_own_score():
    _, scores = fitted("logistic", val=frame_rows(4))
    assert scores["score"] == scores["accuracy"] > 0.95
    assert {"accuracy", "macro_f1", "score"} == set(scores)


def test_the_prior_is_the_share_of_frames_not_of_clips():
    rows = [
        {"frame_severity": [0] * 6, "features": [[0.0]] * 6},
        {"frame_severity": [3] * 2, "features": [[1.0]] * 2},
    ]
    expert, _ = fitted("prior", rows=rows)
    assert expert.predict(rows[0])["probability"] == pytest.approx([0.75, 0, 0, 0.25])


def test_the_prior_ranks_no_clip_whatever_its_length():
    rows = [{"severity": n % 3, "features": [[0.0]] * (7 * n + 1)} for n in range(30)]
    expert, _ = fitted("prior", "severity", rows)
    known = {tuple(expert.predict(row)["probability"]) for row in rows}
    assert known == {tuple(row["probability"]) for row in expert.predict_rows(rows)}
    assert len(known) == 1


def test_an_unknown_label_and_rows_without_labels_are_refused():
    with pytest.raises(CellError, match="no training clip has a frame_severity"):
        fitted("logistic", rows=[{"frame_severity": None, "features": [[0.0]]}])
    with pytest.raises(ArmError, match="frame_grade"):
        Expert("prior", "frame_grade")


@pytest.mark.parametrize(
    ("kind", "name", "value", "found"),
    [
        ("DT", "max_depth", 2, lambda own: own.max_depth),
        ("SVM", "C", 3.0, lambda own: own.estimator.C),
        ("SVM-pairwise", "C", 3.0, lambda own: own.svc.C),
        ("SVM-pairwise", "gamma", 0.5, lambda own: own.svc.gamma),
        ("RF", "min_samples_leaf", 2, lambda own: own.min_samples_leaf),
        ("AB", "n_estimators", 7, lambda own: own.n_estimators),
        ("NN", "n_neighbors", 3, lambda own: own.n_neighbors),
        ("MLP", "hidden_layer_sizes", 4, lambda own: own.hidden_layer_sizes),
        ("MLP-L", "alpha", 0.5, lambda own: own.alpha),
    ],
)
def test_a_parameter_of_scikit_learn_reaches_its_classifier(kind, name, value, found):
    examples, target = np.random.default_rng(0).normal(size=(19, 2)), np.arange(19) % 2
    fit = fit_classifier(kind, examples, target, seed=0, parameters={name: value})
    assert found(fit) == value


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPERTS + PLAIN)
def test_predictions_of_all_clips_equal_those_of_each_bit_for_bit(kind):
    expert, _ = fitted(kind, "severity")
    clips = clip_rows(11)
    for batched, single in zip(expert.predict_rows(clips), map(expert.predict, clips), strict=True):
        assert np.array_equal(batched["outputs"], single["outputs"])
        assert np.array_equal(batched["probability"], single["probability"])


def test_clips_keep_their_numbers_of_samples():
    expert, _ = fitted("NN", "severity")
    clips = [*clip_rows(1, num_samples=1), *clip_rows(1, num_samples=4)]
    assert [len(p["outputs"]) for p in expert.predict_rows(clips)] == [1, 4]
    assert expert.predict_rows([]) == []


def test_validation_leaves_out_clips_of_classes_without_a_training_clip():
    rows = [row for row in clip_rows() if row["severity"] < 3]
    expert, scores = fitted("NN", "severity", rows, val=clip_rows())
    assert scores == expert.score([{"target": expert.target(r), **expert.predict(r)} for r in rows])


@pytest.mark.parametrize("kind", ["SVM", "SVM-pairwise", "NN"])
@pytest.mark.parametrize("num_clips", [2, 3, 4])
def test_inner_folds_and_neighbours_are_no_more_than_the_examples_allow(kind, num_clips):
    rows = [{"severity": n % 2, "features": [[n % 2, 0.1 * n]] * 2} for n in range(num_clips)]
    expert, _ = fitted(kind, "severity", rows)
    probability = expert.predict(rows[0])["probability"]
    assert probability[:2].sum() == pytest.approx(1)


def test_samples_for_a_diagnosis_are_frames_unless_the_expert_is_one_of_clips():
    assert Expert("prior", "diagnosis").inherited
    assert not Expert("prior", "diagnosis", of_frames=False).inherited
