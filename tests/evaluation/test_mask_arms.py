"""Arms that outline masks: their tables are read as counts, scored, compared and named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lus_ray.clip import MASK_SCHEMES
from lus_ray.errors import FoldError, StoreError
from lus_ray.evaluation import comparisons, mask_arms, report_json, results, scored_arms
from lus_ray.metrics import calibration, segmentation
from lus_ray.report import formatting, metric_names
from lus_ray.runs import leakage
from tests.evaluation.mask_run import (
    DENSE,
    ENSEMBLE,
    PUBLISHED,
    SIZE,
    UNET,
    write_mask_cell,
    write_pixel_run,
)
from tests.evaluation.run_folders import PATIENTS, TEST, arm, write_run


def read_cell(out: Path, **settings: Any) -> results.CellResult:
    write_run(out, [UNET])
    write_mask_cell(out, UNET, 0, **settings)
    return results.read(out).cells["U-Net", 0]


def computed(out: Path) -> tuple[dict[str, Any], dict[str, scored_arms.ScoredArm]]:
    return report_json.compute(results.read(out), num_draws=50)


def test_every_scored_frame_of_a_test_clip_is_one_image(tmp_path: Path) -> None:
    cell = read_cell(tmp_path, num_frames=3)
    assert cell.counts is not None
    assert (cell.counts.shape, cell.counts.dtype) == ((36, 5, 5), np.int64)
    assert (cell.counts.sum(axis=(1, 2)) == SIZE**2).all()
    assert cell.clips[:4] == ("phantom/p00-0",) * 3 + ("phantom/p01-0",)
    assert (cell.num_clips, cell.num_patients) == (12, 12)


def test_clips_without_masks_are_left_out(tmp_path: Path) -> None:
    cell = read_cell(tmp_path, annotated=False)
    assert (cell.num_clips, cell.bins) == (0, None)
    _, arms = computed(tmp_path)
    assert "no image was tested" in arms["U-Net"].why_undefined("union_dice")
    assert np.isnan(arms["U-Net"].interval("union_dice").low)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_pairs": 4}, r"counts of \[4\] pairs of the 5 classes of 'markers'"),
        ({"scheme": "bline"}, r"counts of \[25\] pairs of the 2 classes of 'bline'"),
        ({"scheme": "lobes"}, "no mask scheme 'lobes'"),
    ],
)
def test_counts_of_other_classes_are_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(StoreError, match=rf"fold0\.parquet: not a prediction table \({reason}"):
        read_cell(tmp_path, **change)


def test_smoothed_truth_and_boosts_are_told_of_where_there_are_any(tmp_path: Path) -> None:
    plain = {"arguments": {"smooth": 7, "boost": []}}
    boosted = {"arguments": {"members": [{"task": plain}], "boost": [1, 1, 2, 2.5, 2]}}
    arms = [{**UNET, "task": plain}, {**ENSEMBLE, "task": boosted}, DENSE]
    notes = computed(write_run(tmp_path / "one", arms))[0].notes
    assert "a median filter of 7 × 7 pixels before" in notes["smoothed"]
    assert notes["boosted"].endswith("(ensemble: 1, 1, 2, 2.5, 2)")
    others = computed(write_run(tmp_path / "two", [UNET, DENSE]))[0].notes
    assert not {"smoothed", "boosted"} & set(others)


def test_masks_are_scored_over_the_data_set_with_their_images_beside(tmp_path: Path) -> None:
    write_pixel_run(tmp_path)
    found, arms = computed(tmp_path)
    ensemble = arms["ensemble"]
    counts = [cell.counts for cell in ensemble.cells.values() if cell.counts is not None]
    assert ensemble.scores[1].values == segmentation.score(counts[1], "markers").values
    row = next(row for row in found.arms if row.name == "ensemble")
    assert (row.folds[0].num_clips, row.folds[0].num_images) == (12, 24)
    spreads = segmentation.spread_over_images(np.concatenate(counts), "markers")
    assert row.per_image == {metric: vars(one) for metric, one in spreads.items()}
    assert {"pixel_accuracy", "union_dice", "categorical_dice", "dice score 1"} < set(spreads)
    assert spreads["union_dice"].num_images == 3 * 24
    low, high = row.interval["union_dice"]
    assert low < row.mean["union_dice"] < high
    assert row.confusion == np.sum(counts, axis=(0, 1)).tolist()


def test_calibration_is_that_of_the_histograms_of_all_folds_together(tmp_path: Path) -> None:
    write_pixel_run(tmp_path)
    found, arms = computed(tmp_path)
    bins = [cell.bins for cell in arms["U-Net"].cells.values() if cell.bins is not None]
    assert len(bins) == 3
    expected = calibration.reliability_curve(np.sum(bins, axis=0)).expected_error()
    assert found.arms[0].calibration_error == pytest.approx(expected)
    curve = scored_arms.pool_reliability(arms["U-Net"])
    assert curve is not None
    assert curve.number.sum() == 3 * 24 * SIZE**2


def test_the_table_of_single_images_says_where_not_all_define_a_metric() -> None:
    spreads = {
        "pixel_accuracy": {"mean": 0.5, "std": 0.25, "num_images": 8},
        "iou A-line": {"mean": 0.125, "std": 0.0, "num_images": 3},
        "iou B-line": {"mean": None, "std": None, "num_images": 0},
    }
    row = {"name": "a", "label": "sparse masks", "per_image": spreads, "calibration_error": 0.01}
    head, values = formatting.image_table({"arms": [row]}, "sparse masks")
    assert head[1:5] == ["pixel accuracy, %", "A-line IoU, %", "B-line IoU, %", "images"]
    assert values == ["a", "50.0 ± 25.0", "12.5 ± 0.0 (3)", formatting.ABSENT, "8", "1.0"]


def test_an_arm_without_histograms_has_no_calibration(tmp_path: Path) -> None:
    read_cell(tmp_path, binned=False)
    found, arms = computed(tmp_path)
    assert scored_arms.pool_reliability(arms["U-Net"]) is None
    assert found.arms[0].calibration_error is None
    assert formatting.image_table(found, "markers masks")[1][-1] == formatting.ABSENT


def test_arms_with_other_images_are_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path, [UNET, ENSEMBLE], metrics=["union_dice"])
    write_mask_cell(tmp_path, UNET, 0, num_frames=2)
    write_mask_cell(tmp_path, ENSEMBLE, 0, num_frames=3)
    _, arms = computed(tmp_path)
    found = comparisons.compare(arms["ensemble"], arms["U-Net"], "union_dice")
    assert found.reason == "ensemble and U-Net were tested on different images in fold 0"


def test_an_arm_of_images_may_test_any_patient_and_so_may_one_that_reads_it(tmp_path: Path) -> None:
    reader = arm("reader", label="dense masks", reads=PUBLISHED.name)
    joined = arm("joined", label="dense masks", members=["reader"])
    write_run(tmp_path, [PUBLISHED, reader, joined, DENSE])
    for entry in (PUBLISHED, reader, joined):
        write_mask_cell(tmp_path, entry, 0, patients=PATIENTS[:20])
    assert {cell.num_patients for cell in results.read(tmp_path).cells.values()} == {20}
    write_mask_cell(tmp_path, DENSE, 0, patients=PATIENTS[:13])
    with pytest.raises(FoldError, match="tests patient 'phantom/p12', whom fold 0"):
        results.read(tmp_path)


def test_an_arm_that_starts_from_one_of_images_leaks_but_keeps_its_own_patients() -> None:
    later = arm("later", start=PUBLISHED.name)
    experiment = {"arms": [PUBLISHED, later]}
    assert leakage.arms_split_at_random(experiment) == {PUBLISHED.name}
    both = (leakage.SELECTED, leakage.IMAGES)
    assert leakage.leaks(experiment) == {PUBLISHED.name: both, "later": both}


def test_the_gap_of_images_compares_means_over_the_same_patients(tmp_path: Path) -> None:
    found, arms = computed(write_pixel_run(tmp_path))
    [gap] = found.gaps
    one, other = arms[PUBLISHED.name], arms["dense"]
    assert one.cells[1].clips != other.cells[1].clips
    expected = one.mean("mean_iou") - other.mean("mean_iou")
    assert gap.differences["mean_iou"].value == expected > 0.3
    low, high = gap.differences["mean_iou"].interval
    assert low < expected < high
    assert (gap.num_patients, gap.reason) == (12, "")
    assert gap.note == (
        "each arm is the mean over its own folds, which test different images; a part of it is "
        "that the first learns from 67 % of the images and the second from those of 33 % of the "
        "patients, another that the first is tested on mirrored, dimmed and brightened copies too"
    )


def test_an_arm_of_images_against_itself_has_no_gap(tmp_path: Path) -> None:
    _, arms = computed(write_pixel_run(tmp_path))
    one = arms[PUBLISHED.name]
    found = comparisons.compare_means(one, one, "mean_iou")
    assert (found.value, found.interval[0], found.interval[1]) == (0.0, 0.0, 0.0)


def test_the_gap_of_images_waits_for_all_folds_and_needs_the_same_patients(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[0, 1])
    assert computed(tmp_path)[0].gaps[0].reason.endswith("fold 2 is not finished")
    write_pixel_run(tmp_path)
    for fold in range(3):
        write_mask_cell(tmp_path, DENSE, fold, patients=TEST[:6])
    reason = computed(tmp_path)[0].gaps[0].reason
    assert reason.endswith("and dense were tested on different patients")


def test_an_arm_that_leaks_patients_is_held_against_baselines_of_its_kind(tmp_path: Path) -> None:
    clean = arm("clean", label="dense masks", baseline=True)
    leaky = arm("leaky", label="dense masks", baseline=True, rows={"images": True})
    write_run(tmp_path, [clean, leaky, DENSE, PUBLISHED], metrics=["mean_iou"])
    for entry in (clean, leaky, DENSE, PUBLISHED):
        write_mask_cell(tmp_path, entry, 0)
    rows = {row.name: row for row in computed(tmp_path)[0].arms}
    assert rows["dense"].difference["mean_iou"].to == "clean"
    assert rows[PUBLISHED.name].difference["mean_iou"].to == "leaky"
    assert rows[PUBLISHED.name].leak == "selected on test, images split at random"


def test_an_unfinished_arm_has_the_columns_of_its_own_classes(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[])
    found, _ = computed(tmp_path)
    assert found.metrics_of("bline masks") == list(segmentation.METRICS["bline"])


def test_an_unfinished_arm_of_clips_has_no_columns_of_masks(tmp_path: Path) -> None:
    write_run(tmp_path, [DENSE, arm("e2e")], metrics=["auc", "mean_iou", "iou A-line"])
    found, _ = computed(tmp_path)
    assert found.metrics_of("severity") == ["auc"]
    assert found.metrics_of("dense masks") == ["mean_iou", "iou A-line"]


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_every_metric_has_a_title_and_every_label_a_meaning(scheme: str) -> None:
    label = f"{scheme} masks"
    assert mask_arms.scheme_of(label) == scheme
    assert metric_names.unit(label) == "images"
    titles = [metric_names.title(metric, label) for metric in segmentation.METRICS[scheme]]
    assert len(set(titles)) == len(titles)
    assert not any("_" in title for title in titles)
    assert [name for name, _ in mask_arms.explained(segmentation.METRICS[scheme])].count(
        "empty classes"
    ) == 1


def test_titles_name_the_class_first() -> None:
    assert metric_names.title("iou A-line", "dense masks") == "A-line IoU"
    assert metric_names.title("dice score 0", "markers masks") == "Score 0 Dice"
    assert metric_names.title("dice_per_image", "bline masks") == "Dice per image"


def test_labels_of_clips_are_no_masks() -> None:
    assert mask_arms.scheme_of("severity") is None
    assert mask_arms.scheme_of(None) is None
    assert metric_names.name("auc") is None
