from dataclasses import replace

import pytest

from lus_ray.evaluation.schema import Difference
from lus_ray.report import conclusions


def test_the_data_sentence_says_synthetic_only_where_every_clip_is_simulated(clip_report):
    contents = clip_report.contents
    assert conclusions.conclude(contents).data.startswith("48 synthetic clips of 24 sim")
    for sources, start in (
        ({"hospital": {}}, "48 clips of 24 patients from hospital;"),
        ({"hospital": {}, "phantom": {}}, "48 clips of 24 patients from hospital, phantom (some"),
        ({}, "48 clips of 24 patients from unnamed sources"),
    ):
        other = replace(contents, data=contents.data | {"sources": sources})
        assert conclusions.conclude(other).data.startswith(start)


@pytest.mark.parametrize(
    ("value", "interval", "words"),
    [
        (0.1, (0.02, 0.2), "10.0 points above the best baseline, “class prior” (95 % interval +2"),
        (-0.1, (-0.2, -0.05), "10.0 points below the best baseline"),
        (0.1, (-0.1, 0.3), "no clear difference from the best baseline, “class prior” (+10.0"),
        (
            0.1,
            (None, None),
            "no clear difference from the best baseline, “class prior” (+10.0 points, too few",
        ),
        (None, (None, None), "without a baseline to compare it with"),
    ],
)
def test_a_difference_counts_where_its_interval_excludes_zero(clip_report, value, interval, words):
    contents = clip_report.contents
    difference = {"auc": Difference(to="class prior", value=value, interval=interval)}
    arms = tuple(replace(arm, difference=difference) for arm in contents.arms)
    assert words in conclusions.conclude(replace(contents, arms=arms)).finding


def test_certainty_depends_on_size_and_test_patients(clip_report):
    contents = clip_report.contents
    assert conclusions.conclude(contents).certainty.startswith(
        "12 test patients of at least 20 that are needed, at size smoke, which is too small to "
        "decide: 1 claim of the paper stays undecided; simulated clips say nothing about real "
        "patients; the intervals cover"
    )
    laptop = replace(contents, size="laptop")
    assert "12 test patients of at least 20" in conclusions.conclude(laptop).certainty
    many = replace(laptop, arms=tuple(replace(arm, num_patients=300) for arm in laptop.arms))
    sure = conclusions.conclude(many).certainty
    assert sure.startswith(
        "300 test patients: of 1 claim of the paper, 1 not tested; simulated clips"
    )
    assert sure.endswith("patients, not the seed of the training (one seed).")
    repeated = conclusions.conclude(replace(many, seeds=3))
    assert repeated.certainty.endswith("patients and the 3 seeds of the training.")
    assert "3 seeds" in repeated.data


def test_without_a_score_there_is_no_finding(clip_report):
    arms = tuple(replace(arm, mean={"auc": None}) for arm in clip_report.contents.arms)
    bare = replace(clip_report.contents, arms=arms)
    assert conclusions.conclude(bare).finding == "No arm has a score yet."
