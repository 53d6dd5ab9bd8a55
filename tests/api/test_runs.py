"""A run folder as tables: scores, predictions, folds, claims."""

import pytest

import lus_ray as lus
from lus_ray.errors import ArmError, StoreError
from tests.evaluation.run_folders import FOLDS, TEST, arm, write_cell, write_run

BASELINE, NETWORK = arm("prior", baseline=True), arm("TSM", recipe={"epochs": 3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "severity"
    published = {"TSM": {"auc": [0.8, 0.1]}}
    claim = {"text": "Networks win.", "metric": "auc", "better": "TSM", "than": "prior"}
    write_run(out, [BASELINE, NETWORK], published=published, claims=[claim])
    for fold in range(3):
        write_cell(out, BASELINE, fold, skill=0.0)
        write_cell(out, NETWORK, fold, skill=0.3)
    return out


def test_a_table_has_a_row_for_each_arm_and_metric(folder):
    run = lus.open_run(folder)
    table = run.table.set_index(["arm", "metric"])
    network = table.loc["TSM", "auc"]
    assert 0.5 < network["low"] < network["mean"] < network["high"] <= 1
    assert (network["published"], network["folds"], network["label"]) == (0.8, 3, "severity")
    assert table.loc["prior", "auc"]["baseline"]
    assert table["published"].isna().sum() == len(table) - 1


def test_predictions_are_classes_and_probabilities_of_the_tested_clips(folder):
    table = lus.open_run(str(folder)).predictions("TSM")
    assert len(table) == 3 * 4 * len(TEST)
    assert set(table["split"]) == {"test"}
    classes = [f"P({grade})" for grade in range(4)]
    assert table[classes].sum(axis=1).to_list() == pytest.approx([1] * len(table))
    assert (table["predicted"] == table["target"]).mean() > 0.4
    assert table[classes].idxmax(axis=1).tolist() == [f"P({name})" for name in table["predicted"]]
    every = lus.open_run(folder).predictions("TSM", split=None)
    assert len(every) == len(table) + 3  # a training clip in each fold


def test_folds_claims_and_the_page_of_a_run(folder):
    run = lus.open_run(folder)
    assert run.folds[1].loc[TEST[0]] == "test"
    assert run.folds[1].loc[FOLDS[1].val[0]] == "val"
    assert run.claims["verdict"].tolist() == ["undecided"]
    assert run.report == folder / "report.html"
    assert repr(run) == f"Run('{folder}': biomarkers at size smoke, 2 arms, 6 finished cells)"
    assert lus.open_run(run) is run


def test_what_is_not_there_is_refused(folder, tmp_path):
    with pytest.raises(ArmError, match="no arm 'SVM'; known: 'prior', 'TSM'"):
        lus.open_run(folder).predictions("SVM")
    with pytest.raises(StoreError, match="no such file; name a folder"):
        lus.open_run(tmp_path)
