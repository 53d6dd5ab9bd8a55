"""The numbers of the report: shape, means, differences, claims, and what is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lus_ray.evaluation import comparisons, report_json, results
from tests.evaluation.run_folders import arm, write_cell, write_run

PRIOR = arm("class prior", baseline=True)
WEAK = arm("SVM on signs", reads="signs")
STRONG = arm("e2e", recipe={"epochs": 3})
CLAIM = {"text": "e2e is better.", "metric": "auc", "better": "e2e", "than": "class prior"}


def run_of(out: Path, folds: tuple[int, ...] = (0, 1, 2), **facts: Any) -> results.RunResults:
    """Three arms: guessing, a little skill, much skill."""
    write_run(out, [PRIOR, WEAK, STRONG], **facts)
    for fold in folds:
        write_cell(out, PRIOR, fold, skill=0.0, seed=1)
        write_cell(out, WEAK, fold, skill=0.2, seed=2)
        write_cell(out, STRONG, fold, skill=0.4, seed=3)
    return results.read(out)


def computed(run: results.RunResults) -> dict[str, Any]:
    found, _ = report_json.compute(run, num_draws=200)
    return found


def arm_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in found.arms if entry.name == name)


def test_contents_have_the_published_shape(tmp_path: Path) -> None:
    published = {"e2e": {"auc": [0.815, 0.01]}}
    found = computed(run_of(tmp_path, published=published))
    assert {"experiment", "data", "arms", "claims"} <= set(found)
    assert {"clips", "patients", "fingerprint"} <= set(found.data)
    e2e = arm_of(found, "e2e")
    assert {"name", "folds", "mean", "std", "interval", "published", "cost"} <= set(e2e)
    assert {"fold", "metrics", "num_patients", "num_clips"} <= set(e2e.folds[0])
    assert e2e.published["auc"] == [0.815, 0.01]
    assert e2e["cost"] == {
        "wall_s": 180.0, "cpu_s": 300.0, "gpu_s": 0.0, "epochs": 9, "peak_mb": 500.0,
    }  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_mean_and_deviation_are_over_folds(tmp_path: Path) -> None:
    e2e = arm_of(computed(run_of(tmp_path)), "e2e")
    values = [fold.metrics["auc"] for fold in e2e.folds]
    assert e2e.mean["auc"] == pytest.approx(np.mean(values))
    assert e2e.std["auc"] == pytest.approx(np.std(values))
    low, high = e2e.interval["auc"]
    assert low < e2e.mean["auc"] < high
    assert e2e.num_patients == 12


def test_an_arm_against_its_equal_differs_by_exactly_nothing(tmp_path: Path) -> None:
    one, two = arm("one"), arm("two")
    write_run(tmp_path, [one, two])
    for entry in (one, two):
        write_cell(tmp_path, entry, 0, seed=5)
    _, arms = report_json.compute(results.read(tmp_path), num_draws=100)
    found = comparisons.compare(arms.one, arms["two"], "auc")
    assert (found.value, found.interval[0], found.interval[1]) == (0.0, 0.0, 0.0)


def test_a_pair_is_narrower_than_its_parts_where_patients_are_shared(tmp_path: Path) -> None:
    one, two = arm("one"), arm("two")
    write_run(tmp_path, [one, two])
    write_cell(tmp_path, one, 0, seed=5, skill=0.20)
    write_cell(tmp_path, two, 0, seed=5, skill=0.22)
    _, arms = report_json.compute(results.read(tmp_path), num_draws=500)
    paired = comparisons.compare(arms["two"], arms.one, "auc").interval
    alone = arms.one.interval("auc")
    assert 0 < paired.high - paired.low < (alone.high - alone.low) / 2


def test_the_difference_is_to_the_best_baseline(tmp_path: Path) -> None:
    found = computed(run_of(tmp_path)).arms
    assert found[0].difference == {}
    assert found[2].difference["auc"].to == "class prior"
    gap = found[2].mean["auc"] - found[0].mean["auc"]
    assert found[2].difference["auc"].value == pytest.approx(gap)


def test_arms_tested_on_different_clips_are_not_compared(tmp_path: Path) -> None:
    one, two = arm("one"), arm("two")
    write_run(tmp_path, [one, two])
    write_cell(tmp_path, one, 0, num_clips=4)
    write_cell(tmp_path, two, 0, num_clips=3)
    _, arms = report_json.compute(results.read(tmp_path), num_draws=10)
    found = comparisons.compare(arms.one, arms["two"], "auc")
    assert np.isnan(found.value)
    assert found.reason == "one and two were tested on different clips in fold 0"


def test_a_missing_cell_is_named_and_never_averaged_in_silence(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    del run.cells["e2e", 2]
    found = computed(run)
    e2e = arm_of(found, "e2e")
    assert found.missing == [{"arm": "e2e", "fold": 2}]
    assert e2e.num_folds["auc"] == 2
    assert e2e.undefined["auc"] == "fold 2 is not finished"
    assert e2e.difference["auc"].folds == [0, 1]


def test_an_arm_without_a_finished_cell_has_no_mean(tmp_path: Path) -> None:
    e2e = arm_of(computed(run_of(tmp_path, folds=())), "e2e")
    assert e2e.mean == {"auc": None, "accuracy": None}
    assert e2e.missing == [0, 1, 2]


def test_a_fold_with_one_class_leaves_auc_undefined_with_the_reason(tmp_path: Path) -> None:
    one = arm("one")
    write_cell(write_run(tmp_path, [one]), one, 0, target=[2] * 48)
    found = arm_of(computed(results.read(tmp_path)), "one")
    assert found.mean["auc"] is None
    assert "fold 0: all 48 clips have class 2" in found.undefined["auc"]
    assert found.mean["accuracy"] is not None


def test_a_label_that_no_test_clip_has_is_undefined_with_the_reason(tmp_path: Path) -> None:
    one = arm("one")
    write_cell(write_run(tmp_path, [one]), one, 0, target=[None] * 48)
    found = arm_of(computed(results.read(tmp_path)), "one")
    assert found.mean["accuracy"] is None
    assert "no test clip is annotated" in found.undefined["accuracy"]


def test_a_difference_above_nothing_reproduces_a_claim(tmp_path: Path) -> None:
    backwards = {**CLAIM, "better": "class prior", "than": "e2e"}
    found = computed(run_of(tmp_path, claims=[CLAIM, backwards])).claims
    assert [claim.verdict for claim in found] == ["reproduced", "not reproduced"]
    assert found[0].difference == -found[1].difference > 0
    assert found[0].interval[0] > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"better": "absent"}, "there is no arm 'absent' in this run"),
        ({"metric": "dice"}, "class prior"),
    ],
)
def test_a_claim_that_cannot_be_tested_says_why(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    [claim] = computed(run_of(tmp_path, claims=[{**CLAIM, **change}])).claims
    assert claim.verdict == "cannot be tested with this data"
    assert claim.reason if "metric" in change else claim.reason == reason


def test_a_claim_about_an_unfinished_arm_waits(tmp_path: Path) -> None:
    run = run_of(tmp_path, claims=[CLAIM])
    del run.cells["class prior", 1]
    [claim] = computed(run).claims
    assert claim.verdict == "cannot be tested with this data"
    assert claim.reason == "class prior: fold 1 is not finished"


def test_a_claim_waits_where_one_fold_leaves_its_metric_undefined(tmp_path: Path) -> None:
    run_of(tmp_path, claims=[CLAIM])
    write_cell(tmp_path, STRONG, 2, target=[1] * 48)
    [claim] = computed(results.read(tmp_path)).claims
    assert claim.verdict == "cannot be tested with this data"
    assert claim.reason == "auc is undefined in fold 2"


def test_yes_no_labels_are_scored_one_by_one_and_on_average(tmp_path: Path) -> None:
    one = arm("signs", label="biomarkers")
    write_cell(write_run(tmp_path, [one]), one, 0, skill=0.3)
    found = arm_of(computed(results.read(tmp_path)), "signs")
    assert len(found.biomarkers) == 38
    by_label = [row["accuracy"] for row in found.biomarkers.values()]
    assert found.mean["accuracy"] == pytest.approx(np.mean(by_label))
    assert {"group_accuracy", "micro_f1"} <= set(found.mean)


def test_an_arm_of_features_only_has_a_cost_and_no_scores(tmp_path: Path) -> None:
    one = arm("features", label=None)
    write_cell(write_run(tmp_path, [one]), one, 0)
    found = arm_of(computed(results.read(tmp_path)), "features")
    assert found.mean == {}
    assert found["cost"]["cpu_s"] == 100.0


def test_cells_of_other_clips_are_warned_of(tmp_path: Path) -> None:
    one = arm("one")
    write_cell(write_run(tmp_path, [one]), one, 0, metadata={"fingerprint": "0" * 64})
    warnings = computed(results.read(tmp_path)).warnings
    assert any("made from other clips" in text and "one, fold 0" in text for text in warnings)


def test_highlights_are_the_best_baseline_and_the_best_of_each_family(tmp_path: Path) -> None:
    found = computed(run_of(tmp_path))
    assert found.highlights == {"severity": ["class prior", "SVM on signs", "e2e"]}


def test_the_arm_that_the_paper_found_best_is_a_highlight(tmp_path: Path) -> None:
    arms = [arm("one", reads="signs"), arm("two", reads="signs")]
    write_run(tmp_path, arms, published={"one": {"auc": [0.9, None]}, "two": {"auc": [0.8, None]}})
    write_cell(tmp_path, arms[0], 0, skill=0.1)
    write_cell(tmp_path, arms[1], 0, skill=0.4)
    assert computed(results.read(tmp_path)).highlights == {"severity": ["one", "two"]}


def test_a_run_on_phantom_clips_is_made_again_without_naming_a_store() -> None:
    experiment = {"experiment": "biomarkers", "size": "smoke", "data": {"sources": {"phantom": {}}}}
    assert report_json.command(experiment) == "lus run biomarkers --size smoke"
    experiment.data = {"sources": {"covid_blues": {}}}
    assert report_json.command(experiment) == "lus run biomarkers --data STORE --size smoke"
