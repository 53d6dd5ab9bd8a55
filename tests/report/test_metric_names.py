import pytest

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.labels import label_title
from lus_ray.metrics import frames, segmentation
from lus_ray.report import formatting, metric_names
from tests.evaluation.diagnosis_run import CLASSES, METRICS, NONE, write_diagnosis
from tests.evaluation.run_folders import compute, write_run

TITLES = {
    "severity": {"accuracy": "Accuracy (micro F1)", "unknown": "Unknown"},
    "biomarkers": {"accuracy": "Accuracy", "group_accuracy": "Group accuracy"},
    "frame_severity": {"k3": "K = 3", "a4": "A = 4", "accuracy": "Accuracy (micro F1)",
                       "setting_1": "Setting 1", "video_annotated": "Video annotated"},
    "dense masks": {"iou A-line": "A-line IoU", "iou A-line, cap": "A-line IoU, cap"},
    "markers masks": {"dice score 0": "Score 0 Dice"},
    "bline masks": {"dice_per_image": "Dice per image",
                    "dice_per_image, covid": "Dice per image, covid",
                    "sensitivity_per_image, cap": "Sensitivity per image, cap"},
    "diagnosis": {"frame_accuracy": "Frame accuracy", "frame_macro_f1": "Frame macro F1",
                  "frame_precision healthy": "Frame precision, healthy",
                  "frame_recall healthy": "Frame recall, healthy", "auc": "Clip AUC",
                  "frame_f1 healthy": "Frame F1, healthy", "accuracy": "Clip accuracy",
                  "f1": "Clip weighted F1"},
}  # fmt: skip


@pytest.mark.parametrize("label", TITLES)
def test_a_metric_is_named_by_its_label(label):
    titles = {metric: metric_names.title(metric, label) for metric in TITLES[label]}
    assert titles == TITLES[label]


def test_a_label_has_a_title():
    labels = ("frame_severity", "sf_ratio", "bline masks")
    titles = ["Frame severity", "S/F ratio", "B-line masks"]
    assert list(map(label_title, labels)) == titles


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_every_metric_of_masks_has_a_title_and_a_meaning(scheme):
    label, metrics = f"{scheme} masks", segmentation.METRICS[scheme]
    assert metric_names.unit(label) == "images"
    titles = [metric_names.title(metric, label) for metric in metrics]
    assert len(set(titles)) == len(titles)
    assert not any("_" in title for title in titles)
    explained = [name for name, _ in metric_names.explain(metrics, label)]
    assert explained.count("Empty classes") == 1
    assert len(set(explained)) == len(explained)


def test_metrics_of_all_domains_share_a_meaning_and_every_metric_of_frames_has_one():
    metrics = ["dice_per_image, covid", "dice, cap"]
    names = [name for name, _ in metric_names.explain(metrics, "bline masks")]
    assert names == ["Dice", "Per image", "Empty classes"]
    assert len(metric_names.explain(frames.METRICS, "frame_severity")) == len(frames.METRICS)


def test_tables_of_a_diagnosis_are_of_frames_of_their_classes_and_of_clips(diagnosis_report):
    contents = diagnosis_report.contents
    assert [metrics for _, metrics in metric_names.tables(contents, "diagnosis")] == [
        ["frame_accuracy", "frame_macro_f1"],
        [f"{metric} {name}" for name in CLASSES for metric in frames.INHERITED_CLASS_METRICS],
        ["accuracy", "macro_f1", "auc"],
    ]
    text = formatting.gap(contents.gaps[0])
    assert ": frame accuracy +" in text
    assert text.count(";") == len(METRICS) - 9 - 1
    assert "healthy" not in text
    assert formatting.gap(contents.gaps[0], num_metrics=1).count(";") == 0


def test_clips_whose_samples_are_not_frames_have_no_metrics_of_frames(tmp_path):
    write_diagnosis(write_run(tmp_path, [NONE], metrics=METRICS), NONE, inherited=False)
    contents = compute(tmp_path).contents
    assert not any("frame" in metric for metric in contents.arms[0].mean)
    [(title, metrics)] = metric_names.tables(contents, "diagnosis")
    assert title.startswith("Clips")
    assert metrics == ["accuracy", "macro_f1", "auc"]
    assert metric_names.explain(metrics, "diagnosis") == []
