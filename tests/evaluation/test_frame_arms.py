import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score

from lus_ray.errors import StoreError
from lus_ray.evaluation import frame_arms, results
from lus_ray.metrics import classification, frames
from lus_ray.runs.manifest import ArmRecord, RunRecord
from tests.evaluation.diagnosis_run import CLASSES, METRICS, NONE, write_diagnosis
from tests.evaluation.frame_run import write_frame_run
from tests.evaluation.run_folders import MATRIX, compute, write_run


def test_frames_are_scored_as_scikit_learn_scores_them(frame_run):
    cell, scores = frame_run.arms["frames"].cells[1], frame_run.arms["frames"].scores[1]
    predicted = cell.probability.argmax(axis=1)
    assert scores["setting_1"] == scores["accuracy"] == accuracy_score(cell.target, predicted)
    assert scores["f1"] == pytest.approx(f1_score(cell.target, predicted, average="weighted"))
    row = frame_run.row("frames")
    assert (row.folds[0].num_clips, row.folds[0].num_frames) == (24, 288)
    low, high = row.interval["average"]
    assert low < row.mean["average"] < high


def test_without_raters_only_their_settings_are_undefined(tmp_path):
    computed = compute(write_frame_run(tmp_path, num_raters=0, folds=[0]))
    scores = computed.arms["frames"].scores[0]
    assert np.isnan(scores["a3"])
    assert np.isfinite(scores["k7"])
    assert "no clip has raters" in scores.undefined["video_annotated"]
    assert computed.contents.raters is None


def test_outputs_are_read_clip_by_clip_and_have_equal_classes():
    clips = [[[0.0, 1.0], [0.25, 0.75]], [[1.0, 0.0]]]
    values, num_frames = frame_arms.read_outputs(pa.table({"outputs": pa.array(clips, MATRIX)}))
    assert values.tolist() == [[0.0, 1.0], [0.25, 0.75], [1.0, 0.0]]
    assert num_frames.tolist() == [2, 1]
    uneven = pa.array([[[0.5, 0.5], [0.2, 0.3, 0.5]]], MATRIX)
    with pytest.raises(ValueError, match="frames with 2 and 3 classes"):
        frame_arms.read_outputs(pa.table({"outputs": uneven}))


def test_an_aggregator_is_an_arm_that_reads_frame_scores():
    arms = (
        ArmRecord(name="frames", label="frame_severity"),
        ArmRecord(name="uninorm", label="severity", reads="frames"),
        ArmRecord(name="features"),
        ArmRecord(name="expert", label="severity", reads="features"),
    )
    assert frame_arms.aggregators(RunRecord(experiment="", arms=arms)) == {"uninorm": "frames"}


def test_every_frame_of_a_diagnosed_clip_is_one_example_and_the_clip_another(diagnosis_run):
    cell, fold = diagnosis_run.arms["none"].cells[0], diagnosis_run.row("none").folds[0]
    assert cell.frame_counts.sum(axis=1).tolist() == [3 + number % 3 for number in range(12)]
    assert (fold.num_clips, fold.num_frames) == (12, 48)
    correct = cell.frame_counts[np.arange(len(cell.target)), cell.target].sum()
    assert fold.metrics["frame_accuracy"] == correct / 48
    clip_accuracy = classification.score(cell.target, cell.probability)["accuracy"]
    assert fold.metrics["accuracy"] == clip_accuracy != correct / 48


def test_frames_have_intervals_over_patients_claims_and_gaps(diagnosis_run):
    row, arms = diagnosis_run.row("none"), diagnosis_run.arms
    for metric in frames.inherited_metrics(CLASSES):
        low, high = row.interval[metric]
        assert low < row.mean[metric] < high, metric
    [claim], [gap] = diagnosis_run.contents.claims, diagnosis_run.contents.gaps
    expected = arms["from dense"].mean("frame_accuracy") - arms["none"].mean("frame_accuracy")
    assert claim.difference == pytest.approx(expected) != 0
    assert claim.verdict == "undecided"
    assert set(gap.differences) == set(METRICS)


def test_frames_of_other_classes_are_refused(tmp_path):
    write_diagnosis(write_run(tmp_path, [NONE]), NONE, classes=CLASSES[:2])
    with pytest.raises(StoreError, match=r"frames with 3 of 2 classes"):
        results.read(tmp_path)
