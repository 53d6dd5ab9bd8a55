"""Arms that score every frame: their tables are read, scored and compared frame by frame."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score

from lus_ray.errors import StoreError
from lus_ray.evaluation import comparisons, frame_arms, report_json, results
from lus_ray.metrics.frames import METRICS
from lus_ray.report import metric_names
from tests.evaluation.frame_run import FRAMES, UNINORM, write_frame_cell, write_frame_run
from tests.evaluation.run_folders import arm, write_run


def read_cell(out: Path, **settings: object) -> results.CellResult:
    write_run(out, [FRAMES])
    write_frame_cell(out, FRAMES, 0, **settings)  # type: ignore[arg-type]
    return results.read(out).cells["frames", 0]


def test_every_frame_of_a_test_clip_is_one_example(tmp_path: Path) -> None:
    cell = read_cell(tmp_path, num_frames=5)
    assert cell.has_frames
    assert cell.probability.shape == (24 * 5, 4)
    assert cell.probability.dtype == np.float32
    assert cell.num_clips == 24
    assert cell.clips[:6] == ("phantom/p00-0",) * 5 + ("phantom/p00-1",)
    assert cell.patients[9:11] == ("phantom/p00", "phantom/p01")


def test_frames_are_scored_as_scikit_learn_scores_them(tmp_path: Path) -> None:
    write_frame_run(tmp_path)
    found, arms = report_json.compute(results.read(tmp_path), num_draws=50)
    cell, scores = arms["frames"].cells[1], arms["frames"].scores[1]
    said = cell.probability.argmax(axis=1)
    assert scores["setting_1"] == scores["accuracy"] == accuracy_score(cell.target, said)
    assert scores["f1"] == pytest.approx(f1_score(cell.target, said, average="weighted"))
    row = found.arms[0]
    assert (row.folds[0].num_clips, row.folds[0].num_frames) == (24, 288)
    low, high = row.interval["average"]
    assert low < row.mean["average"] < high


def test_clips_without_frame_scores_are_decided_but_not_scored(tmp_path: Path) -> None:
    cell = read_cell(tmp_path, target=None)
    assert (len(cell.clips), len(cell.predicted)) == (0, 24)
    _, arms = report_json.compute(results.read(tmp_path), num_draws=20)
    assert "no test clip is annotated" in arms["frames"].why_undefined("average")


def test_a_clip_with_fewer_scores_than_frames_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="clip 'phantom/p00-0' has 2 scores for 12 frames"):
        read_cell(tmp_path, target=[0, 1])


def test_a_clip_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no frames"):
        read_cell(tmp_path, num_frames=0)


def test_frames_that_differ_in_their_classes_are_refused() -> None:
    lines = pa.array([[[0.5, 0.5], [0.2, 0.3, 0.5]]], pa.list_(pa.list_(pa.float32())))
    with pytest.raises(ValueError, match="frames with 2 and 3 classes"):
        frame_arms.read_outputs(pa.table({"outputs": lines}))


def test_outputs_come_back_clip_by_clip() -> None:
    lines = [[[0.0, 1.0], [0.25, 0.75]], [[1.0, 0.0]]]
    table = pa.table({"outputs": pa.array(lines, pa.list_(pa.list_(pa.float32())))})
    values, num_frames = frame_arms.read_outputs(table)
    assert values.tolist() == [[0.0, 1.0], [0.25, 0.75], [1.0, 0.0]]
    assert num_frames.tolist() == [2, 1]


def test_arms_with_clips_of_other_lengths_are_not_compared(tmp_path: Path) -> None:
    other = arm("other", label="frame_severity")
    write_run(tmp_path, [FRAMES, other], metrics=["accuracy"])
    write_frame_cell(tmp_path, FRAMES, 0, num_frames=4)
    write_frame_cell(tmp_path, other, 0, num_frames=5)
    _, arms = report_json.compute(results.read(tmp_path), num_draws=10)
    found = comparisons.compare(arms["frames"], arms.other, "accuracy")
    assert found.reason == "frames and other were tested on different frames in fold 0"


def test_without_raters_their_settings_are_undefined_and_the_others_are_not(tmp_path: Path) -> None:
    write_frame_run(tmp_path, num_raters=0, folds=[0])
    _, arms = report_json.compute(results.read(tmp_path), num_draws=10)
    scores = arms["frames"].scores[0]
    assert np.isnan(scores["a3"])
    assert np.isfinite(scores["k7"])
    assert "no clip has raters" in scores.undefined["video_annotated"]


def test_every_metric_of_frames_has_a_title_and_a_meaning() -> None:
    assert set(metric_names.FRAME_MEANINGS) == set(METRICS) <= set(metric_names.NAMES)
    assert metric_names.title("k3", frame_arms.SEVERITY) == "K = 3"
    assert metric_names.title("accuracy", frame_arms.SEVERITY) == "Accuracy (micro F1)"


def test_an_aggregator_is_an_arm_that_reads_frame_scores() -> None:
    entries = [FRAMES, UNINORM, arm("features", label=None), arm("expert", reads="features")]
    assert frame_arms.aggregators({"arms": entries}) == {"uninorm": "frames"}
