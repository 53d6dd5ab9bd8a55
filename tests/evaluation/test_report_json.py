"""The numbers of the report: means, deviations, highlights, and what is missing or undefined."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lus_ray.evaluation import report_json, schema
from lus_ray.runs.manifest import RunRecord
from tests.evaluation.run_folders import Computed, arm, compute, write_cell, write_run

PRIOR = arm("class prior", baseline=True)
WEAK = arm("SVM on signs", reads="signs")
STRONG = arm("e2e", recipe={"epochs": 3})
ONE = arm("one")
CLAIM = {"text": "e2e is better.", "metric": "auc", "better": "e2e", "than": "class prior"}
PUBLISHED = {"e2e": {"auc": [0.815, 0.01]}}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """Three arms: guessing, a little skill, much skill."""
    out = tmp_path_factory.mktemp("run")
    write_run(out, [PRIOR, WEAK, STRONG], published=PUBLISHED, claims=[CLAIM])
    for fold in range(3):
        write_cell(out, PRIOR, fold, skill=0.0, seed=1)
        write_cell(out, WEAK, fold, skill=0.2, seed=2)
        write_cell(out, STRONG, fold, skill=0.4, seed=3)
    return compute(out, num_draws=200)


def write_one(out: Path, entry: dict[str, Any] = ONE, **settings: Any) -> Computed:
    write_cell(write_run(out, [entry]), entry, 0, **settings)
    return compute(out)


def test_the_json_has_the_published_keys_and_reads_back_equal(
    computed: Computed, frame_run: Computed, mask_run: Computed, domain_run: Computed
) -> None:
    plain = schema.CONTENTS.dump_python(computed.contents, mode="json")
    assert {"experiment", "data", "arms", "claims"} <= set(plain)
    assert {"clips", "patients", "fingerprint"} <= set(plain["data"])
    e2e = plain["arms"][2]
    assert {"name", "folds", "mean", "std", "interval", "published", "cost"} <= set(e2e)
    assert {"fold", "metrics", "num_patients", "num_clips"} <= set(e2e["folds"][0])
    assert e2e["published"]["auc"] == [0.815, 0.01]
    cost = {"wall_s": 180.0, "cpu_s": 300.0, "gpu_s": 0.0, "epochs": 9, "peak_mb": 500.0}
    assert e2e["cost"] == cost
    absent = {"biomarkers", "per_image"} & set(e2e) or {"num_frames", "num_images"} & set(
        e2e["folds"][0]
    )
    assert not absent
    for other in (computed, frame_run, mask_run, domain_run):
        text = schema.to_json(other.contents)
        assert schema.CONTENTS.validate_json(text) == other.contents


def test_mean_and_deviation_are_over_folds(computed: Computed) -> None:
    e2e = computed.row("e2e")
    values = [fold.metrics["auc"] for fold in e2e.folds]
    assert e2e.mean["auc"] == pytest.approx(np.mean(values))
    assert e2e.std["auc"] == pytest.approx(np.std(values))
    low, high = e2e.interval["auc"]
    assert low < e2e.mean["auc"] < high
    assert e2e.num_patients == 12


def test_a_missing_cell_is_named_and_never_silently_averaged(computed: Computed) -> None:
    run = computed.run
    cells = {key: cell for key, cell in run.cells.items() if key != ("e2e", 2)}
    run = type(run)(run.out, run.record, run.folds, cells, run.leaks, run.at_random)
    contents, _ = report_json.compute(run, num_draws=20)
    e2e = contents.arms[2]
    assert contents.missing == (schema.MissingCell(arm="e2e", fold=2),)
    assert e2e.num_folds["auc"] == 2
    assert e2e.undefined["auc"] == "fold 2 is not finished"
    assert e2e.difference["auc"].folds == (0, 1)


def test_an_arm_without_a_finished_cell_has_no_mean(tmp_path: Path) -> None:
    e2e = compute(write_run(tmp_path, [STRONG])).row("e2e")
    assert e2e.mean == {"auc": None, "accuracy": None}
    assert e2e.missing == (0, 1, 2)


@pytest.mark.parametrize(
    ("target", "undefined", "reason"),
    [
        ([2] * 48, {"auc"}, "fold 0: all 48 clips have class 2"),
        ([None] * 48, {"auc", "accuracy"}, "no test clip is annotated"),
    ],
)
def test_an_undefined_metric_has_a_reason(
    tmp_path: Path, target: list[int | None], undefined: set[str], reason: str
) -> None:
    row = write_one(tmp_path, target=target).row("one")
    for metric in ("auc", "accuracy"):
        assert (row.mean[metric] is None) == (metric in undefined)
    assert reason in row.undefined["auc"]


def test_yes_no_labels_are_scored_one_by_one_and_on_average(tmp_path: Path) -> None:
    row = write_one(tmp_path, arm("one", label="biomarkers"), skill=0.3).row("one")
    assert len(row.biomarkers) == 38
    by_label = [scores.accuracy for scores in row.biomarkers.values()]
    assert row.mean["accuracy"] == pytest.approx(np.mean(by_label))
    assert {"group_accuracy", "micro_f1"} <= set(row.mean)


def test_an_arm_of_features_only_has_a_cost_and_no_scores(tmp_path: Path) -> None:
    row = write_one(tmp_path, arm("one", label=None)).row("one")
    assert (row.mean, row.cost["cpu_s"]) == ({}, 100.0)


def test_a_warning_names_cells_computed_from_other_clips(tmp_path: Path) -> None:
    found = write_one(tmp_path, metadata={"fingerprint": "0" * 64})
    assert any(
        "other than those" in text and "one, fold 0" in text for text in found.contents.warnings
    )


def test_highlights_are_the_best_baseline_the_best_of_each_family_and_the_best_published(
    computed: Computed, tmp_path: Path
) -> None:
    assert computed.contents.highlights == {"severity": ("class prior", "SVM on signs", "e2e")}
    arms = [arm("one", reads="signs"), arm("two", reads="signs")]
    write_run(tmp_path, arms, published={"one": {"auc": [0.9, None]}, "two": {"auc": [0.8, None]}})
    write_cell(tmp_path, arms[0], 0, skill=0.1)
    write_cell(tmp_path, arms[1], 0, skill=0.4)
    assert compute(tmp_path).contents.highlights == {"severity": ("one", "two")}


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({"data": {"sources": {"phantom": {}}}}, "lus run biomarkers --size smoke"),
        ({"data": {"sources": {"pocovid": {}}}}, "lus run biomarkers --data STORE --size smoke"),
        ({"commands": ("lus run a", "lus run b")}, "lus run a && lus run b"),
    ],
)
def test_the_command_names_a_store_only_where_clips_are_not_simulated(
    facts: dict[str, Any], command: str
) -> None:
    record = RunRecord(experiment="biomarkers", size="smoke", arms=(), **facts)
    assert report_json.command(record) == command
