"""Frames that inherit the diagnosis of their clip: counted, compared over patients, and shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lus_ray import report
from lus_ray.errors import StoreError
from lus_ray.evaluation import report_json, results, scored_arms
from lus_ray.metrics import classification, frames
from lus_ray.report import formatting, metric_names
from tests.evaluation.run_folders import TEST, arm, identity, write_rows, write_run

CLASSES = ("healthy", "other lung disease", "COVID-19 pneumonia")
NONE, DENSE = arm("none", label="diagnosis"), arm("from dense", label="diagnosis")
METRICS = [*frames.inherited_metrics(CLASSES), "accuracy", "macro_f1", "auc"]
CLAIM = {
    "text": "Masks first.", "metric": "frame_accuracy", "better": "from dense", "than": "none",
}  # fmt: skip
GAP = {"text": "twice", "leaky": "from dense", "clean": "none"}


def write_diagnosis(
    out: Path,
    entry: dict[str, Any],
    fold: int = 0,
    *,
    skill: float = 0.5,
    annotated: bool = True,
    classes: tuple[str, ...] = CLASSES,
    **about: Any,
) -> Path:
    """A clip of each patient, of 3 to 5 frames whose probabilities lean to the truth by `skill`."""
    rng = np.random.default_rng([fold, int(100 * skill)])
    rows = []
    for number, patient in enumerate(TEST):
        target, num_frames = number % 3, 3 + number % 3
        noise = rng.dirichlet(np.ones(3), num_frames)
        outputs = (1 - skill) * noise + skill * np.eye(3)[target]
        said = {"outputs": outputs.tolist(), "probability": outputs.mean(axis=0).tolist()}
        who = identity(f"{patient}-0", patient, fold)
        rows.append({**who, "target": target if annotated else None, **said})
    known = {"classes": list(classes), "multilabel": False, "inherited": True, **about}
    return write_rows(out, entry, fold, rows, about=known, target=pa.int32())


def written(out: Path, **facts: Any) -> Path:
    """Two arms over three folds."""
    known = {"metrics": METRICS, "claims": [CLAIM], "gaps": [GAP]}
    write_run(out, [NONE, DENSE], **{**known, **facts})
    for fold in range(3):
        write_diagnosis(out, NONE, fold, skill=0.2)
        write_diagnosis(out, DENSE, fold, skill=0.5)
    return out


def computed(out: Path) -> tuple[dict[str, Any], dict[str, scored_arms.ScoredArm]]:
    return report_json.compute(results.read(out), num_draws=100)


def test_every_frame_of_a_clip_is_one_example_and_the_clip_another(tmp_path: Path) -> None:
    found, arms = computed(written(tmp_path))
    cell = arms["none"].cells[0]
    assert cell.frame_counts is not None
    assert cell.frame_counts.sum(axis=1).tolist() == [3 + number % 3 for number in range(12)]
    row = found.arms[0]
    assert (row.folds[0].num_clips, row.folds[0].num_frames) == (12, 48)
    scores = row.folds[0].metrics
    assert scores["frame_accuracy"] == (
        np.trace(frames.inherited_confusion(cell.target, cell.frame_counts)) / 48
    )
    assert scores["accuracy"] == classification.score(cell.target, cell.probability)["accuracy"]
    assert scores["accuracy"] != scores["frame_accuracy"]


def test_frames_have_intervals_over_patients_claims_and_gaps(tmp_path: Path) -> None:
    found, arms = computed(written(tmp_path))
    for metric in frames.inherited_metrics(CLASSES):
        low, high = found.arms[0].interval[metric]
        assert low < found.arms[0].mean[metric] < high, metric
    [claim] = found.claims
    expected = arms["from dense"].mean("frame_accuracy") - arms["none"].mean("frame_accuracy")
    assert claim.difference == pytest.approx(expected) != 0
    assert claim.verdict == "reproduced"
    [gap] = found.gaps
    assert set(gap.differences) == set(METRICS)
    told = formatting.gap_differences(gap)
    assert told[0].startswith("frame accuracy +")
    assert len(told) == len(METRICS) - 9
    assert not any("healthy" in one for one in told)


def test_clips_without_a_diagnosis_leave_frames_undefined_too(tmp_path: Path) -> None:
    write_run(tmp_path, [NONE], metrics=METRICS)
    write_diagnosis(tmp_path, NONE, annotated=False)
    found, arms = computed(tmp_path)
    assert arms["none"].scores[0].undefined["frame_f1 healthy"] == "no test clip is annotated"
    assert found.arms[0].mean["frame_accuracy"] is None


def test_frames_of_other_classes_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, [NONE])
    write_diagnosis(tmp_path, NONE, classes=CLASSES[:2])
    with pytest.raises(StoreError, match=r"frames with 3 of 2 classes"):
        results.read(tmp_path)


def test_clips_whose_samples_are_no_frames_have_no_figures_of_frames(tmp_path: Path) -> None:
    write_run(tmp_path, [NONE], metrics=METRICS)
    write_diagnosis(tmp_path, NONE, inherited=False)
    found, _ = computed(tmp_path)
    assert not any("frame" in metric for metric in found.arms[0].mean)
    [(title, metrics)] = metric_names.tables(found, "diagnosis")
    assert title.startswith("Clips")
    assert metrics == ["accuracy", "macro_f1", "auc"]
    assert formatting.explained(found, "diagnosis") == []


def test_frames_come_first_with_the_paper_beside_them_and_clips_in_a_table_of_their_own(
    tmp_path: Path,
) -> None:
    paper = {"none": {"frame_accuracy": [0.824, None], "frame_f1 healthy": [0.795, None]}}
    made = report.write(written(tmp_path, published=paper), num_draws=20)
    blocks = metric_names.tables(made.contents, "diagnosis")
    assert [metrics for _, metrics in blocks] == [
        ["frame_accuracy", "frame_macro_f1"],
        [f"{metric} {name}" for name in CLASSES for metric in frames.INHERITED_CLASS_METRICS],
        ["accuracy", "macro_f1", "auc"],
    ]
    text = (tmp_path / "report.md").read_text()
    frames, classes, clips = (text.index(f"\n{title}:\n") for title, _ in blocks)
    assert frames < text.index("| 82.4 |") < classes < text.index("paper 79.5") < clips
    page = (tmp_path / "report.html").read_text()
    frames, classes, clips = (page.index(f"<h3>{title}</h3>") for title, _ in blocks)
    assert frames < page.index("paper 82.4") < classes < page.index("paper 79.5") < clips


def test_names_say_frame_or_clip() -> None:
    names = [metric_names.name(metric, "diagnosis") for metric in METRICS]
    assert names[:2] == ["frame accuracy", "frame macro F1"]
    assert names[2:5] == [
        "frame precision, healthy", "frame recall, healthy", "frame F1, healthy",
    ]  # fmt: skip
    assert names[-3:] == ["clip accuracy", "clip macro F1", "clip AUC"]
    assert metric_names.name("f1", "diagnosis") == "clip weighted F1"
    assert metric_names.name("accuracy", "severity") == "accuracy (micro F1)"
