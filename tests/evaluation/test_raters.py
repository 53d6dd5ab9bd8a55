"""Raters: their agreement over the tested clips, and arms in the place of each of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lus_ray.evaluation import raters, report_json, results
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics.rater_agreement import measure_agreement
from tests.evaluation.frame_run import UNINORM, raters_of, truth, write_clip_cell, write_frame_run
from tests.evaluation.run_folders import TEST, write_run


def computed(out: Path) -> dict[str, Any]:
    found, _ = report_json.compute(results.read(out), num_draws=20)
    return found


def deciding(decided: dict[str, int]) -> ScoredArm:
    """An arm whose one cell decided so."""
    cell = results.CellResult(
        Path(), Path(), "arm", 0, tuple("0123"), False, "", (), (), np.zeros(0, np.int64),
        np.zeros((0, 4)), None, {}, decided, {}, (),
    )  # fmt: skip
    return ScoredArm("arm", "severity", False, (), (0,), {0: cell})


def test_each_clip_is_counted_once_however_many_arms_and_folds_test_it(tmp_path: Path) -> None:
    found = computed(write_frame_run(tmp_path)).raters
    given = [
        raters_of(truth(patient, number, 4)[1], patient, 5) for patient in TEST for number in (0, 1)
    ]
    expected = measure_agreement(np.array([own for own in given if own]))
    assert (found.num_clips, found.num_raters) == (16, 5)
    assert found.pairwise == expected.pairwise
    assert found.one_against_others[2]["accuracy"] == expected.one_against_others.accuracy[2]


def test_the_best_clean_arm_of_each_kind_stands_beside_them(tmp_path: Path) -> None:
    found = computed(write_frame_run(tmp_path)).raters.arms
    assert [(row.kind, row.name) for row in found] == [
        ("clip score", "uninorm"),
        ("mean of frame scores", "frames"),
    ]
    assert all(0 < row["accuracy"] <= 1 and row.num_clips == 16 for row in found)


def test_an_arm_that_says_what_all_raters_say_agrees_wholly() -> None:
    table = np.array([[0, 0, 0], [3, 3, 3]])
    found = raters.score_among_raters(table, ["a", "b"], deciding({"a": 0, "b": 3}))
    assert found == {"num_clips": 2, "accuracy": 1.0, "difference": 0.0, "weighted_kappa": 1.0}


def test_an_arm_meets_the_mean_of_the_others_not_of_all() -> None:
    table = np.array([[0, 0, 3], [1, 1, 1]])
    found = raters.score_among_raters(table, ["a", "b"], deciding({"a": 0, "b": 1}))
    # In place of the third rater the others mean 0; in place of the first or second 1.5.
    assert found.difference == pytest.approx((1.5 + 1.5 + 0) / 6)


def test_clips_that_no_finished_fold_tests_are_left_out_of_an_arm() -> None:
    table = np.array([[0, 0], [3, 3]])
    found = raters.score_among_raters(table, ["a", "b"], deciding({"b": 3, "c": 1}))
    assert found.num_clips == 1
    nothing = raters.score_among_raters(table, ["a", "b"], deciding({}))
    assert nothing.num_clips == 0
    assert np.isnan(nothing["accuracy"])


def test_a_run_without_raters_has_no_section(tmp_path: Path) -> None:
    assert computed(write_frame_run(tmp_path, num_raters=0, folds=[0])).raters is None


def test_raters_of_unequal_number_are_not_compared_and_the_reason_is_given(tmp_path: Path) -> None:
    write_run(tmp_path, [UNINORM | {"reads": None}])
    write_clip_cell(tmp_path, UNINORM, 0, skill=0.5, num_raters=5)
    run = results.read(tmp_path)
    run.cells["uninorm", 0].raters["phantom/p00-0"] = (1, 2, 3)
    found, _ = report_json.compute(run, num_draws=20)
    assert found.raters == {
        "num_clips": 16,
        "reason": "clips have between 3 and 5 raters; agreement needs the same number, two or "
        "more, for every clip",
    }
