"""Differences, claims and gaps: paired over patients, and never made of what is missing."""

from pathlib import Path
from typing import Any

import pytest

from lus_ray.evaluation import comparisons
from lus_ray.runs import leakage
from tests.evaluation.frame_run import ARMS, FRAMES, GAP, write_frame_cell
from tests.evaluation.mask_run import DENSE, PUBLISHED, write_mask_cell, write_mask_run
from tests.evaluation.run_folders import (
    PATIENTS,
    TEST,
    Computed,
    arm,
    compute,
    write_cell,
    write_run,
)

ONE, TWO = arm("one"), arm("two")
PRIOR, STRONG = arm("class prior", baseline=True), arm("e2e", recipe={"epochs": 3})
CLAIM = {"text": "e2e is better.", "metric": "auc", "better": "e2e", "than": "class prior"}


def write_pair(out: Path, **facts: Any) -> Path:
    """A baseline that guesses and an arm with skill."""
    write_run(out, [PRIOR, STRONG], **facts)
    for fold in range(3):
        write_cell(out, PRIOR, fold, skill=0.0, seed=1)
        write_cell(out, STRONG, fold, skill=0.4, seed=3)
    return out


def test_equal_arms_differ_by_exactly_zero(tmp_path: Path, mask_run: Computed) -> None:
    write_run(tmp_path, [ONE, TWO])
    for entry in (ONE, TWO):
        write_cell(tmp_path, entry, 0, seed=5)
    arms = compute(tmp_path).arms
    found = comparisons.compare(arms["one"], arms["two"], "auc")
    assert (found.value, *found.interval) == (0.0, 0.0, 0.0)
    by_image = mask_run.arms[PUBLISHED["name"]]
    found = comparisons.compare_means(by_image, by_image, "mean_iou")
    assert (found.value, *found.interval) == (0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval_where_patients_are_shared(tmp_path: Path) -> None:
    write_run(tmp_path, [ONE, TWO])
    write_cell(tmp_path, ONE, 0, seed=5, skill=0.20)
    write_cell(tmp_path, TWO, 0, seed=5, skill=0.22)
    arms = compute(tmp_path, num_draws=500).arms
    low, high = comparisons.compare(arms["two"], arms["one"], "auc").interval
    single = arms["one"].interval("auc")
    assert low is not None
    assert high is not None
    assert 0 < high - low < (single.high - single.low) / 2


def test_differences_are_to_the_best_baseline(tmp_path: Path) -> None:
    rows = compute(write_pair(tmp_path)).contents.arms
    assert rows[0].difference == {}
    found = rows[1].difference["auc"]
    assert found.to == "class prior"
    assert found.value == pytest.approx(rows[1].mean["auc"] - rows[0].mean["auc"])


def write_other_clips(out: Path) -> None:
    write_cell(out, ONE, 0, num_clips=4)
    write_cell(out, TWO, 0, num_clips=3)


def write_other_frames(out: Path) -> None:
    for name, num_frames in (("one", 4), ("two", 5)):
        write_frame_cell(out, FRAMES | {"name": name}, 0, num_frames=num_frames)


def write_other_images(out: Path) -> None:
    for name, num_frames in (("one", 2), ("two", 3)):
        write_mask_cell(out, DENSE | {"name": name}, 0, num_frames=num_frames)


@pytest.mark.parametrize(
    ("write", "label", "metric", "unit"),
    [
        (write_other_clips, "severity", "auc", "clips"),
        (write_other_frames, "frame_severity", "accuracy", "frames"),
        (write_other_images, "dense masks", "mean_iou", "images"),
    ],
)
def test_arms_tested_on_different_examples_are_not_compared(
    tmp_path: Path, write: Any, label: str, metric: str, unit: str
) -> None:
    write_run(tmp_path, [ONE | {"label": label}, TWO | {"label": label}], metrics=[metric])
    write(tmp_path)
    arms = compute(tmp_path).arms
    found = comparisons.compare(arms["one"], arms["two"], metric)
    reason = f"one and two were tested on different {unit} in fold 0"
    assert (found.value, found.reason) == (None, reason)


def test_a_claim_is_reproduced_where_its_interval_is_above_zero(tmp_path: Path) -> None:
    reverse = {**CLAIM, "better": "class prior", "than": "e2e"}
    claims = compute(write_pair(tmp_path, claims=[CLAIM, reverse])).contents.claims
    assert [claim.verdict for claim in claims] == ["reproduced", "not reproduced"]
    assert claims[0].difference == pytest.approx(-claims[1].difference)
    assert claims[0].difference > 0
    assert claims[0].interval[0] > 0


@pytest.mark.parametrize(
    ("change", "fold_of_one_class", "missing", "reason"),
    [
        ({"better": "absent"}, None, None, "there is no arm 'absent' in this run"),
        ({"metric": "dice"}, None, None, "e2e: fold 0: dice is not a metric of severity"),
        ({}, None, 1, "class prior: fold 1 is not finished"),
        ({}, 2, None, "auc is undefined in fold 2"),
    ],
)
def test_a_claim_that_cannot_be_tested_says_why(
    tmp_path: Path,
    change: dict[str, str],
    fold_of_one_class: int | None,
    missing: int | None,
    reason: str,
) -> None:
    write_pair(tmp_path, claims=[{**CLAIM, **change}])
    if fold_of_one_class is not None:
        write_cell(tmp_path, STRONG, fold_of_one_class, target=[1] * 48)
    if missing is not None:
        (tmp_path / "predictions" / "class-prior" / f"fold{missing}.parquet").unlink()
    [claim] = compute(tmp_path).contents.claims
    assert claim.verdict == "cannot be tested with this data"
    assert claim.reason.startswith(reason)
    assert (claim.difference, claim.interval) == (None, None)


def test_a_gap_is_leaky_minus_clean_over_the_same_draws(frame_run: Computed) -> None:
    [gap] = frame_run.contents.gaps
    arms = frame_run.arms
    expected = comparisons.compare(arms["uninorm on all patients"], arms["uninorm"], "f1")
    assert gap.differences["f1"] == expected
    assert expected.value > 0
    assert (gap.label, gap.num_patients, gap.reason) == ("severity", 12, "")
    assert set(gap.differences) == {"f1", "accuracy"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"leaky": "absent"}, "there is no arm 'absent' in this run"),
        ({"leaky": "frames"}, "frames and uninorm predict different labels"),
        ({}, "uninorm on all patients: no fold is finished"),
    ],
)
def test_a_gap_that_cannot_be_measured_says_why(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    [gap] = compute(write_run(tmp_path, ARMS, gaps=[{**GAP, **change}])).contents.gaps
    assert (gap.differences, gap.reason) == ({}, reason)


def test_the_gap_of_images_split_at_random_compares_means_over_the_same_patients(
    mask_run: Computed,
) -> None:
    [gap] = mask_run.contents.gaps
    leaky, clean = mask_run.arms[PUBLISHED["name"]], mask_run.arms["dense"]
    assert leaky.cells[1].clips != clean.cells[1].clips
    found = gap.differences["mean_iou"]
    assert found.value == leaky.mean("mean_iou") - clean.mean("mean_iou") > 0.3
    assert found.interval[0] < found.value < found.interval[1]
    assert (gap.num_patients, gap.reason) == (12, "")
    assert "different images" in gap.note
    assert "trains on 67 % of the images and the second on those of 33 %" in gap.note
    assert gap.note.endswith("mirrored, darkened and brightened copies")


def test_the_gap_of_images_needs_all_folds_and_the_same_patients(tmp_path: Path) -> None:
    write_mask_run(tmp_path, folds=[0, 1])
    assert compute(tmp_path).contents.gaps[0].reason.endswith("fold 2 is not finished")
    for entry in (DENSE, PUBLISHED):
        write_mask_cell(tmp_path, entry, 2)
    for fold in range(3):
        write_mask_cell(tmp_path, DENSE, fold, patients=TEST[:6])
    reason = compute(tmp_path).contents.gaps[0].reason
    assert reason.endswith("and dense were tested on different patients")


def test_the_gap_of_clips_split_at_random_says_what_else_differs(tmp_path: Path) -> None:
    clean, leaky = arm("clean"), arm("leaky", rows={"clips": True}, recipe={"select": "test"})
    write_run(tmp_path, [clean, leaky], gaps=[{"text": "", "leaky": "leaky", "clean": "clean"}])
    for fold in range(3):
        write_cell(tmp_path, clean, fold, skill=0.3)
        write_cell(tmp_path, leaky, fold, skill=0.9, patients=PATIENTS[fold::3])
    found = compute(tmp_path)
    assert found.row("leaky").leak == f"{leakage.SELECTED}, {leakage.CLIPS}"
    assert leakage.CLIPS in found.contents.notes
    reason = "leaky and clean were tested on different patients"
    assert found.contents.gaps[0].reason == reason
    for fold in range(3):
        write_cell(tmp_path, leaky, fold, skill=0.9, patients=TEST[fold::3])
    found = compute(tmp_path)
    [gap] = found.contents.gaps
    expected = found.arms["leaky"].mean("auc") - found.arms["clean"].mean("auc")
    assert gap.differences["auc"].value == expected > 0
    assert gap.note.endswith("the second on those of 33 % of the patients")


def leaky_and_clean(label: str, rows: dict[str, bool]) -> list[dict[str, Any]]:
    return [
        arm("clean", label=label, baseline=True),
        arm("leaky", label=label, baseline=True, rows=rows),
        arm("clean arm", label=label),
        arm("leaky arm", label=label, rows=rows),
    ]


@pytest.mark.parametrize(
    ("label", "rows", "mark", "metric"),
    [
        ("severity", {"overlap": True}, leakage.OVERLAP, "auc"),
        ("dense masks", {"images": True}, leakage.IMAGES, "mean_iou"),
    ],
)
def test_an_arm_is_compared_with_baselines_that_leak_as_it_does(
    tmp_path: Path, label: str, rows: dict[str, bool], mark: str, metric: str
) -> None:
    arms = leaky_and_clean(label, rows)
    write_run(tmp_path, arms, metrics=[metric])
    for entry in arms:
        if label == "severity":
            write_cell(tmp_path, entry, 0, skill=0.9 if entry["name"] == "leaky" else 0.2)
        else:
            write_mask_cell(tmp_path, entry, 0)
    found = compute(tmp_path)
    clean, leaky = found.row("clean arm"), found.row("leaky arm")
    assert (clean.difference[metric].to, clean.leak) == ("clean", None)
    assert (leaky.difference[metric].to, leaky.leak) == ("leaky", mark)


def test_a_leaky_arm_never_hides_the_best_clean_arm_of_its_family(frame_run: Computed) -> None:
    shown = frame_run.contents.highlights["frame_severity"]
    assert shown == ("frames", "frames, all patients")
