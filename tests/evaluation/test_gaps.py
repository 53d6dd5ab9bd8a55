"""Gaps: arms that saw patients they are tested on are known, marked, and held against twins."""

from pathlib import Path
from typing import Any

import pytest

from lus_ray.evaluation import comparisons, report_json, results, scored_arms
from lus_ray.runs import leakage
from tests.evaluation.frame_run import ARMS, GAP, write_frame_run
from tests.evaluation.run_folders import PATIENTS, TEST, arm, write_cell, write_run


def computed(out: Path) -> tuple[dict[str, Any], dict[str, scored_arms.ScoredArm]]:
    return report_json.compute(results.read(out), num_draws=100)


def test_overlap_is_handed_on_to_arms_that_read_or_start_from_an_overlapping_one() -> None:
    later = arm("started", start="frames, all patients")
    found = leakage.leaks({"arms": [*ARMS, later, arm("other", rows={"overlap": False})]})
    assert set(found) == {"frames, all patients", "uninorm on all patients", "started"}
    assert set(found.values()) == {(leakage.OVERLAP,)}


def test_an_arm_whose_epoch_the_test_side_chose_leaks() -> None:
    chosen = arm("chosen", recipe={"select": "test"})
    assert leakage.leaks({"arms": [chosen, arm("other", recipe={"select": "best"})]}) == {
        "chosen": (leakage.SELECTED,)
    }


def test_a_gap_is_leaky_minus_clean_over_the_same_draws(tmp_path: Path) -> None:
    found, arms = computed(write_frame_run(tmp_path))
    [gap] = found.gaps
    expected = comparisons.compare(arms["uninorm on all patients"], arms["uninorm"], "f1")
    assert gap.differences["f1"].value == expected.value > 0
    assert gap.differences["f1"].interval == [expected.interval[0], expected.interval[1]]
    assert (gap.label, gap.num_patients, gap.reason) == ("severity", 12, "")
    assert set(gap.differences) == {"f1", "accuracy"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"leaky": "absent"}, "there is no arm 'absent' in this run"),
        ({"leaky": "frames"}, "frames and uninorm predict different labels"),
    ],
)
def test_a_gap_that_cannot_be_measured_says_why(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    write_frame_run(tmp_path, folds=[0], gaps=[{**GAP, **change}])
    [gap] = computed(tmp_path)[0].gaps
    assert (gap.differences, gap.reason) == ({}, reason)


def test_a_gap_of_an_unfinished_arm_waits(tmp_path: Path) -> None:
    write_run(tmp_path, ARMS, gaps=[GAP])
    [gap] = computed(tmp_path)[0].gaps
    assert gap.reason == "uninorm on all patients: no fold is finished"


def test_a_leaky_baseline_is_no_rival_of_a_clean_arm(tmp_path: Path) -> None:
    clean, leaky = arm("clean", baseline=True), arm("leaky", baseline=True, rows={"overlap": True})
    write_run(tmp_path, [clean, leaky, arm("mine"), arm("yours", rows={"overlap": True})])
    for entry, skill in ((clean, 0.1), (leaky, 0.9), (arm("mine"), 0.3), (arm("yours"), 0.3)):
        write_cell(tmp_path, entry, 0, skill=skill)
    rows = {row.name: row for row in computed(tmp_path)[0].arms}
    assert rows["mine"].difference["auc"].to == "clean"
    assert rows["yours"].difference["auc"].to == "leaky"
    assert (rows["mine"].leak, rows["yours"].leak) == (None, leakage.OVERLAP)


def test_a_leaky_arm_never_hides_the_best_clean_one_of_its_family(tmp_path: Path) -> None:
    found, _ = computed(write_frame_run(tmp_path))
    assert found.highlights["frame_severity"] == ["frames", "frames, all patients"]


def test_clips_dealt_at_random_are_a_leak_and_may_be_of_any_patient(tmp_path: Path) -> None:
    clean, leaky = arm("clean"), arm("leaky", rows={"clips": True}, recipe={"select": "test"})
    gap = {"text": "clips dealt", "leaky": "leaky", "clean": "clean"}
    write_run(tmp_path, [clean, leaky], gaps=[gap])
    thirds = [PATIENTS[k::3] for k in range(3)]
    for fold, patients in enumerate(thirds):
        write_cell(tmp_path, clean, fold, skill=0.3)
        write_cell(tmp_path, leaky, fold, skill=0.9, patients=patients)
    found, _ = computed(tmp_path)
    assert found.arms[1].leak == f"{leakage.SELECTED}, {leakage.CLIPS}"
    assert leakage.CLIPS in found.notes
    assert found.gaps[0].reason == "leaky and clean were tested on different patients"
    for fold in range(3):
        write_cell(tmp_path, leaky, fold, skill=0.9, patients=TEST[fold::3])
    found, arms = computed(tmp_path)
    [gap] = found.gaps
    expected = arms.leaky.mean("auc") - arms.clean.mean("auc")
    assert gap.differences["auc"].value == expected > 0
    assert gap.note == (
        "each arm is the mean over its own folds, which test different clips; a part of it is that "
        "the first learns from 67 % of the clips and the second from those of 33 % of the patients"
    )


def test_an_arm_that_only_starts_from_clips_dealt_at_random_tests_patients_of_its_fold() -> None:
    experiment = {"arms": [arm("leaky", rows={"clips": True}), arm("later", start="leaky")]}
    assert leakage.arms_split_at_random(experiment) == {"leaky"}
    assert leakage.leaks(experiment)["later"] == (leakage.CLIPS,)
