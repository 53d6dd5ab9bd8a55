from pathlib import Path

import numpy as np
import pytest

from lus_ray.evaluation import raters, report_json, results
from lus_ray.evaluation.schema import RaterComparison
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics.rater_agreement import measure_agreement
from tests.evaluation.frame_run import UNINORM, raters_of, truth, write_clip_cell
from tests.evaluation.run_folders import TEST, arm, write_run


def predicting(predicted):
    cell = results.CellResult(
        path=Path(), folder=Path(), arm="arm", fold=0, classes=tuple("0123"), fingerprint="",
        clips=(), patients=(), predicted=predicted,
    )  # fmt: skip
    return ScoredArm("arm", "severity", False, (), (0,), {0: cell})


def test_each_clip_counts_once_however_many_arms_and_folds_test_it(frame_run):
    result = frame_run.contents.raters
    scores = [
        raters_of(truth(patient, number, 4)[1], patient, 5) for patient in TEST for number in (0, 1)
    ]
    expected = measure_agreement(np.array([own for own in scores if own]))
    assert (result.num_clips, result.num_raters, result.pairwise) == (16, 5, expected.pairwise)
    assert result.one_against_others[2].accuracy == expected.one_against_others.accuracy[2]
    assert [(row.kind, row.name) for row in result.arms] == [
        ("clip score", "uninorm"),
        ("mean of frame scores", "frames"),
    ]
    assert all(0 < row.accuracy <= 1 and row.num_clips == 16 for row in result.arms)


# In place of the third rater of [0, 0, 3] the others mean 0; in place of the others 1.5.
@pytest.mark.parametrize(
    ("table", "predicted", "expected"),
    [
        ([[0, 0, 0], [3, 3, 3]], {"a": 0, "b": 3}, (2, 1.0, 0.0)),
        ([[0, 0, 3], [1, 1, 1]], {"a": 0, "b": 1}, (2, 4 / 6, (1.5 + 1.5 + 0) / 6)),
        ([[0, 0], [3, 3]], {"b": 3, "c": 1}, (1, 1.0, 0.0)),
        ([[0, 0], [3, 3]], {}, (0, None, None)),
    ],
)
def test_an_arm_is_compared_with_the_mean_of_the_other_raters(table, predicted, expected):
    arm = predicting(predicted)
    scores = raters.score_among_raters(np.array(table), ["a", "b"], arm, kind="")
    assert (scores.num_clips, scores.accuracy, scores.difference) == pytest.approx(expected)


def test_raters_of_unequal_number_are_not_compared_and_the_reason_is_given(tmp_path):
    write_run(tmp_path, [UNINORM | {"reads": None}])
    write_clip_cell(tmp_path, UNINORM, 0, skill=0.5, num_raters=5)
    run = results.read(tmp_path)
    run.cells["uninorm", 0].raters["phantom/p00-0"] = (1, 2, 3)
    contents, _ = report_json.compute(run, num_draws=20)
    assert contents.raters == RaterComparison(
        num_clips=16,
        reason="clips have between 3 and 5 raters; agreement needs the same number, two or more, "
        "for every clip",
    )


def test_networks_of_clips_and_experts_on_them_stand_beside_the_raters(tmp_path):
    network = arm("network", recipe={"epochs": 3})
    expert = arm("tree", reads="network", task={"arguments": {"kind": "DT"}})
    prior = arm("prior", baseline=True, task={"arguments": {"kind": "prior"}})
    write_run(tmp_path, [network, expert, prior])
    for entry in (network, expert, prior):
        write_clip_cell(tmp_path, entry, 0, skill=0.5, num_raters=2)
    contents, _ = report_json.compute(results.read(tmp_path), num_draws=20)
    assert [(row.kind, row.name) for row in contents.raters.arms] == [
        ("clip network", "network"),
        ("expert", "tree"),
    ]
