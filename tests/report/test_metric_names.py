"""Every metric has a name, and a meaning where its name does not say enough."""

import pytest

from lus_ray.clip import MASK_SCHEMES
from lus_ray.evaluation import frame_arms
from lus_ray.metrics import frames, segmentation
from lus_ray.report import formatting, metric_names
from tests.evaluation.diagnosis_run import CLASSES, METRICS, NONE, write_diagnosis
from tests.evaluation.run_folders import compute, write_run


@pytest.mark.parametrize(
    ("metric", "label", "title"),
    [
        ("accuracy", "severity", "Accuracy (micro F1)"),
        ("accuracy", "biomarkers", "Accuracy"),
        ("k3", "frame_severity", "K = 3"),
        ("accuracy", "frame_severity", "Accuracy (micro F1)"),
        ("iou A-line", "dense masks", "A-line IoU"),
        ("dice score 0", "markers masks", "Score 0 Dice"),
        ("dice_per_image", "bline masks", "Dice per image"),
        ("dice_per_image, covid", "bline masks", "Dice per image, covid"),
        ("iou A-line, cap", "dense masks", "A-line IoU, cap"),
        ("sensitivity_per_image, cap", "bline masks", "Sensitivity per image, cap"),
        ("frame_accuracy", "diagnosis", "Frame accuracy"),
        ("frame_macro_f1", "diagnosis", "Frame macro F1"),
        ("frame_precision healthy", "diagnosis", "Frame precision, healthy"),
        ("frame_recall healthy", "diagnosis", "Frame recall, healthy"),
        ("frame_f1 healthy", "diagnosis", "Frame F1, healthy"),
        ("accuracy", "diagnosis", "Clip accuracy"),
        ("f1", "diagnosis", "Clip weighted F1"),
        ("auc", "diagnosis", "Clip AUC"),
        ("unknown", "severity", "Unknown"),
    ],
)
def test_a_metric_is_named_by_its_label(metric, label, title):
    assert metric_names.title(metric, label) == title


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


def test_metrics_of_all_domains_share_a_meaning():
    metrics = ["dice_per_image, covid", "dice, cap"]
    names = [name for name, _ in metric_names.explain(metrics, "bline masks")]
    assert names == ["Dice", "Per image", "Empty classes"]


def test_every_metric_of_frame_scores_has_a_name_and_a_meaning():
    assert set(metric_names.FRAME_MEANINGS) == set(frames.METRICS) <= set(metric_names.NAMES)
    explained = metric_names.explain(frames.METRICS, frame_arms.SEVERITY)
    assert len(explained) == len(frames.METRICS)


def test_tables_of_a_diagnosis_are_of_frames_of_their_classes_and_of_clips(diagnosis_report):
    contents = diagnosis_report.contents
    assert [metrics for _, metrics in metric_names.tables(contents, "diagnosis")] == [
        ["frame_accuracy", "frame_macro_f1"],
        [f"{metric} {name}" for name in CLASSES for metric in frames.INHERITED_CLASS_METRICS],
        ["accuracy", "macro_f1", "auc"],
    ]
    differences = formatting.gap_differences(contents.gaps[0])
    assert differences[0].startswith("frame accuracy +")
    assert len(differences) == len(METRICS) - 9
    assert not any("healthy" in text for text in differences)


def test_clips_whose_samples_are_not_frames_have_no_metrics_of_frames(tmp_path):
    write_diagnosis(write_run(tmp_path, [NONE], metrics=METRICS), NONE, inherited=False)
    contents = compute(tmp_path).contents
    assert not any("frame" in metric for metric in contents.arms[0].mean)
    [(title, metrics)] = metric_names.tables(contents, "diagnosis")
    assert title.startswith("Clips")
    assert metrics == ["accuracy", "macro_f1", "auc"]
    assert metric_names.explain(metrics, "diagnosis") == []
