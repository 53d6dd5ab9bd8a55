from dataclasses import replace

import numpy as np
import pytest

from lus_ray.evaluation import report_json, schema
from lus_ray.runs.manifest import DataRecord, RunRecord
from tests.evaluation.diagnosis_run import NONE, write_diagnosis
from tests.evaluation.frame_run import FRAMES, write_frame_cell
from tests.evaluation.mask_run import UNET, write_mask_cell
from tests.evaluation.run_folders import arm, compute, write_cell, write_run

PRIOR = arm("class prior", baseline=True)
WEAK = arm("SVM on signs", reads="signs")
STRONG = arm("e2e", recipe={"epochs": 3})
ONE = arm("one")
CLAIM = {"text": "e2e is better.", "metric": "auc", "better": "e2e", "than": "class prior"}
PUBLISHED = {"e2e": {"auc": [0.815, 0.01]}}


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    write_run(out, [PRIOR, WEAK, STRONG], published=PUBLISHED, claims=[CLAIM])
    for fold in range(3):
        write_cell(out, PRIOR, fold, skill=0.0, seed=1)
        write_cell(out, WEAK, fold, skill=0.2, seed=2)
        write_cell(out, STRONG, fold, skill=0.4, seed=3)
    return compute(out, num_draws=200)


def write_one(out, entry=ONE, **settings):
    write_cell(write_run(out, [entry]), entry, 0, **settings)
    return compute(out)


@pytest.mark.slow
def test_the_json_has_the_published_keys_and_reads_back_equal(
    computed, frame_run, mask_run, domain_run
):
    plain = schema.CONTENTS.dump_python(computed.contents, mode="json")
    assert {"experiment", "data", "arms", "claims"} <= set(plain)
    assert {"clips", "patients", "fingerprint"} <= set(plain["data"])
    e2e = plain["arms"][2]
    assert {"name", "folds", "mean", "std", "interval", "published", "cost"} <= set(e2e)
    assert {"fold", "metrics", "num_patients", "num_clips"} <= set(e2e["folds"][0])
    assert e2e["published"]["auc"] == [0.815, 0.01]
    cost = {"wall_s": 180.0, "cpu_s": 300.0, "gpu_s": 0.0, "epochs": 9, "peak_mb": 500.0}
    assert e2e["cost"] == cost
    assert not {"biomarkers", "per_image"} & set(e2e)
    assert not {"num_frames", "num_images"} & set(e2e["folds"][0])
    for contents in (run.contents for run in (computed, frame_run, mask_run, domain_run)):
        assert schema.CONTENTS.validate_json(schema.to_json(contents)) == contents


def test_mean_and_deviation_are_over_folds(computed):
    e2e = computed.row("e2e")
    values, (low, high) = [fold.metrics["auc"] for fold in e2e.folds], e2e.interval["auc"]
    assert e2e.mean["auc"] == pytest.approx(np.mean(values))
    assert e2e.std["auc"] == pytest.approx(np.std(values))
    assert low < e2e.mean["auc"] < high
    assert e2e.num_patients == 12


def test_a_missing_cell_is_named_and_never_silently_averaged(computed):
    cells = {key: cell for key, cell in computed.run.cells.items() if key != ("e2e", 2)}
    contents, _ = report_json.compute(replace(computed.run, cells=cells), num_draws=20)
    e2e = contents.arms[2]
    assert contents.missing == (schema.MissingCell(arm="e2e", fold=2),)
    assert e2e.num_folds["auc"] == 2
    assert e2e.undefined["auc"] == "fold 2 is not finished"
    assert e2e.difference["auc"].folds == (0, 1)


NO_CLIP = "fold 0: no test clip is annotated"
NO_MASKS = {"without": ["counts", "bins"]}


@pytest.mark.parametrize(
    ("write", "entry", "settings", "defined", "undefined", "reason"),
    [
        (write_cell, ONE, {"target": [2] * 48}, "accuracy", "auc", "fold 0: all 48 clips have cla"),
        (write_cell, ONE, {"target": [None] * 48}, None, "auc", NO_CLIP),
        (write_frame_cell, FRAMES, {"target": None}, None, "average", NO_CLIP),
        (write_diagnosis, NONE, {"annotated": False}, None, "frame_f1 healthy", NO_CLIP),
        (write_mask_cell, UNET, NO_MASKS, None, "union_dice", "fold 0: no image was tested"),
    ],
)
def test_an_undefined_metric_has_a_reason(
    tmp_path, write, entry, settings, defined, undefined, reason
):
    write(write_run(tmp_path, [entry]), entry, 0, **settings)
    computed = compute(tmp_path)
    arm, row = computed.arms[entry["name"]], computed.row(entry["name"])
    assert reason in row.undefined[undefined]
    metrics = {metric for metric, mean in row.mean.items() if mean is not None}
    assert defined in metrics if defined else not metrics
    assert np.isnan(arm.interval(undefined).low)
    assert (arm.cells[0].num_clips == 0) == (defined is None)


def test_yes_no_labels_are_scored_one_by_one_and_on_average(tmp_path):
    row = write_one(tmp_path, arm("one", label="biomarkers"), skill=0.3).row("one")
    assert len(row.biomarkers) == 38
    by_label = [scores.accuracy for scores in row.biomarkers.values()]
    assert row.mean["accuracy"] == pytest.approx(np.mean(by_label))
    assert {"group_accuracy", "micro_f1"} <= set(row.mean)


def test_an_arm_of_features_has_a_cost_and_no_scores_and_an_unfinished_one_no_mean(tmp_path):
    write_run(tmp_path, [arm("one", label=None), STRONG])
    write_cell(tmp_path, arm("one", label=None), 0)
    features, e2e = compute(tmp_path).contents.arms
    assert (features.mean, features.cost["cpu_s"]) == ({}, 100.0)
    assert e2e.mean == {"auc": None, "accuracy": None}
    assert e2e.missing == (0, 1, 2)


def test_a_warning_names_cells_computed_from_other_clips(tmp_path):
    warnings = write_one(tmp_path, fingerprint="0" * 64).contents.warnings
    assert any("other than those" in text and "one, fold 0" in text for text in warnings)


def test_highlights_are_the_best_baseline_the_best_of_each_family_and_the_best_published(
    computed, tmp_path
):
    assert computed.contents.highlights == {"severity": ("class prior", "SVM on signs", "e2e")}
    arms = [arm("one", reads="signs"), arm("two", reads="signs")]
    write_run(tmp_path, arms, published={"one": {"auc": [0.9, None]}, "two": {"auc": [0.8, None]}})
    write_cell(tmp_path, arms[0], 0, skill=0.1)
    write_cell(tmp_path, arms[1], 0, skill=0.4)
    assert compute(tmp_path).contents.highlights == {"severity": ("one", "two")}


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({"data": DataRecord(sources={"phantom": {}})}, "lus run biomarkers --size smoke"),
        (
            {"data": DataRecord(sources={"pocovid": {}})},
            "lus run biomarkers --data STORE --size smoke",
        ),
        ({"commands": ("lus run a", "lus run b")}, "lus run a && lus run b"),
    ],
)
def test_the_command_names_a_store_only_where_clips_are_not_simulated(facts, command):
    record = RunRecord(experiment="biomarkers", size="smoke", arms=(), **facts)
    assert report_json.command(record) == command
