import numpy as np
import pytest

from lus_ray.clip import MASK_SCHEMES
from lus_ray.evaluation import mask_arms, pooled_scores
from lus_ray.metrics import calibration, segmentation
from tests.evaluation.mask_run import DENSE, ENSEMBLE, SIZE, UNET, write_mask_cell, write_mask_run
from tests.evaluation.run_folders import arm, compute, write_run


def test_notes_name_smoothed_references_and_boosts_where_an_arm_uses_them(tmp_path, mask_run):
    plain = {"arguments": {"smooth": 7, "boost": []}}
    boosted = {"arguments": {"members": [{"task": plain}], "boost": [1, 1, 2, 2.5, 2]}}
    arms = [{**UNET, "task": plain}, {**ENSEMBLE, "task": boosted}, DENSE]
    notes = compute(write_run(tmp_path, arms)).contents.notes
    assert "a median filter of 7 × 7 pixels before" in notes["smoothed"]
    assert notes["boosted"].endswith("(ensemble: 1, 1, 2, 2.5, 2)")
    assert not {"smoothed", "boosted"} & set(mask_run.contents.notes)


def test_masks_are_scored_over_pooled_pixels_and_over_single_images(mask_run):
    ensemble, row = mask_run.arms["ensemble"], mask_run.row("ensemble")
    counts = [cell.counts for cell in ensemble.cells.values() if cell.counts is not None]
    assert ensemble.scores[1].values == segmentation.score(counts[1], "markers").values
    assert (row.folds[0].num_clips, row.folds[0].num_images) == (12, 24)
    spreads = segmentation.spread_over_images(np.concatenate(counts), "markers")
    assert {m: vars(own) for m, own in row.per_image.items()} == {
        m: vars(own) for m, own in spreads.items()
    }
    assert {"pixel_accuracy", "union_dice", "categorical_dice", "dice score 1"} < set(spreads)
    assert spreads["union_dice"].num_images == 3 * 24
    low, high = row.interval["union_dice"]
    assert low < row.mean["union_dice"] < high
    assert np.array_equal(row.confusion, np.sum(counts, axis=(0, 1)))


def test_calibration_is_that_of_the_histograms_of_all_folds_together(mask_run):
    arm = mask_run.arms["U-Net"]
    bins = [cell.bins for cell in arm.cells.values() if cell.bins is not None]
    assert len(bins) == 3
    expected = calibration.reliability_curve(np.sum(bins, axis=0)).expected_error()
    assert mask_run.row("U-Net").calibration_error == pytest.approx(expected)
    curve = pooled_scores.pool_reliability(arm)
    assert curve.number.sum() == 3 * 24 * SIZE**2


def test_an_arm_without_histograms_has_no_calibration(tmp_path):
    write_mask_cell(write_run(tmp_path, [UNET]), UNET, 0, without=["bins"])
    computed = compute(tmp_path)
    assert pooled_scores.pool_reliability(computed.arms["U-Net"]) is None
    assert computed.row("U-Net").calibration_error is None


def test_an_unfinished_arm_has_the_columns_of_its_own_label(tmp_path):
    contents = compute(write_mask_run(tmp_path / "masks", folds=[])).contents
    assert contents.metrics_of("bline masks") == list(segmentation.METRICS["bline"])
    metrics = ["auc", "mean_iou", "iou A-line"]
    contents = compute(write_run(tmp_path / "two", [DENSE, arm("e2e")], metrics=metrics)).contents
    assert contents.metrics_of("severity") == ["auc"]
    assert contents.metrics_of("dense masks") == ["mean_iou", "iou A-line"]


def test_a_mask_label_names_its_scheme_and_other_labels_have_none():
    for scheme in MASK_SCHEMES:
        assert mask_arms.scheme_of(f"{scheme} masks") == scheme
    for label in (*MASK_SCHEMES, "severity", "other masks", None):
        assert mask_arms.scheme_of(label) is None
