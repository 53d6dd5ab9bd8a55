"""Experts of single frames: every frame is an example with a score of its own."""

import numpy as np
import pytest

from lus_ray.errors import ArmError, CellError
from lus_ray.tasks import Expert


def rows(num_clips=12, num_frames=5, noise=0.1):
    """Clips whose first feature is the score of the frame, from 0 to 3 within each clip."""
    rng = np.random.default_rng(0)
    table = []
    for _ in range(num_clips):
        scores = rng.integers(0, 4, num_frames)
        features = np.stack([scores + noise * rng.normal(size=num_frames)] * 2, axis=1)
        table.append({"frame_severity": scores.tolist(), "features": features.tolist()})
    return table


def expert(kind="logistic", **more):
    return Expert(kind, "frame_severity", inputs="features", **more)


def test_every_frame_is_an_example_with_its_own_score():
    made = expert()
    scores = made.fit_rows(rows(), rows(4), seed=0)
    assert scores["score"] == scores["accuracy"] > 0.95
    assert {"accuracy", "macro_f1", "score"} == set(scores)


@pytest.mark.parametrize("kind", ["prior", "DT", "SVM"])
def test_a_clip_has_a_line_of_probabilities_for_each_frame(kind):
    made = expert(kind)
    made.fit_rows(rows(), [], seed=0)
    (row,) = rows(1, num_frames=7)
    said = made.predict(row)
    assert said["outputs"].shape == (7, 4)
    assert said["outputs"].sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert said["probability"] == pytest.approx(said["outputs"].mean(axis=0))
    assert made.target(row) == row["frame_severity"]


def test_the_prior_is_the_share_of_frames_not_of_clips():
    table = [
        {"frame_severity": [0] * 6, "features": [[0.0]] * 6},
        {"frame_severity": [3] * 2, "features": [[1.0]] * 2},
    ]
    made = expert("prior")
    made.fit_rows(table, [], seed=0)
    assert made.predict(table[0])["probability"] == pytest.approx([0.75, 0, 0, 0.25])


def test_classes_are_those_of_the_severity_and_the_target_is_one_per_frame():
    made = expert()
    assert made.by_frame
    assert made.classes == ("0", "1", "2", "3")
    assert made.columns == ("frame_severity",)
    assert not Expert("prior", "severity").by_frame


def test_clips_without_scores_of_frames_teach_nothing():
    with pytest.raises(CellError, match="no training clip has a frame_severity"):
        expert().fit_rows([{"frame_severity": None, "features": [[0.0]]}], [], seed=0)


def test_a_label_that_no_expert_knows_is_refused():
    with pytest.raises(ArmError, match="frame_severity"):
        Expert("prior", "frame_grade")
