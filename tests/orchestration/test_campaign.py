"""Campaigns on a real Ray cluster: cells in parallel, inputs first, resume, workers, searches."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from experiments.biomarkers import EXPERIMENT
from lus_ray import report
from lus_ray.errors import CellError, InputError
from lus_ray.experiment import Arm
from lus_ray.orchestration import campaign, run_options
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest
from lus_ray.tasks import Expert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SMALL = run_options.apply_options(
    EXPERIMENT, "smoke", arms="e2e severity from biomarkers,NN on biomarkers*"
)
SEARCHING = run_options.apply_options(EXPERIMENT, "smoke", arms="e2e severity", samples=2)


def run(out, store, experiment=SMALL, **settings):
    campaign.run(RunRequest(experiment, data=store, out=out, size="smoke", **settings))


def probabilities(out, arm, fold):
    table = predictions.read(RunFolder(out).cell(Cell(arm, fold)).predictions)[1]
    return np.array(table["probability"].to_pylist())


@pytest.fixture(scope="module")
def finished(ray_cluster, phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("campaign")
    run(out, phantom_store)
    return out


def test_every_cell_is_finished_and_reported(finished):
    contents = report.write(finished).contents
    assert [arm.name for arm in contents.arms] == [arm.name for arm in SMALL.arms]
    assert all(len(arm.folds) == 3 for arm in contents.arms)
    assert (finished / "report.html").stat().st_size > 10_000


def test_no_patient_is_on_two_sides_of_a_fold(finished):
    folds = json.loads((finished / "folds.json").read_text())["folds"]
    assert len(folds) == 3
    for fold in folds:
        sides = [set(fold[side]) for side in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 24


def test_running_it_again_runs_nothing(finished, phantom_store):
    files = sorted(finished.glob("**/*.parquet"))
    before = [path.stat().st_mtime_ns for path in files]
    run(finished, phantom_store)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_only_what_is_missing_runs_again_and_comes_out_equal(finished, phantom_store):
    lost, kept = Cell("biomarkers", 1), Cell("biomarkers", 0)
    before = probabilities(finished, "biomarkers", 1)
    untouched = RunFolder(finished).cell(kept).predictions.stat().st_mtime_ns
    RunFolder(finished).cell(lost).predictions.unlink()
    run(finished, phantom_store)
    assert np.array_equal(probabilities(finished, "biomarkers", 1), before)
    assert RunFolder(finished).cell(kept).predictions.stat().st_mtime_ns == untouched


def test_other_settings_in_the_same_folder_are_refused(finished, phantom_store):
    other = run_options.apply_options(EXPERIMENT, "smoke", settings=["arm.recipe.lr=0.5"])
    with pytest.raises(InputError, match="other settings; choose another --out"):
        run(finished, phantom_store, other)
    with pytest.raises(InputError, match="holds a run with seed"):
        run(finished, phantom_store, replace(SMALL, seed=1))


def test_a_folder_in_use_says_who_holds_it(finished, phantom_store):
    with (
        RunFolder(finished).lock(),
        pytest.raises(InputError, match=r"process \d+ on .* is running"),
    ):
        run(finished, phantom_store)


def test_a_failed_cell_is_named_its_dependents_wait_and_the_rest_finishes(phantom_store, tmp_path):
    arms = (
        SMALL.arm("biomarkers"),
        Arm("impossible", SMALL.arm("biomarkers").task, _with_bad_rate(), label="biomarkers"),
        Arm("reader", partial(Expert, kind="NN", label="severity"), reads="impossible"),
    )
    with pytest.raises(CellError, match=r"2 cells failed .*impossible/fold0"):
        run(tmp_path, phantom_store, SMALL.with_arms(arms), folds=(0,))
    assert RunFolder(tmp_path).cell(Cell("biomarkers", 0)).is_finished
    error = (RunFolder(tmp_path).cell(Cell("impossible", 0)).error).read_text()
    assert "lower the learning rate" in error


def _with_bad_rate():
    recipe = SMALL.arm("biomarkers").recipe
    assert recipe is not None
    return replace(recipe, lr=1e30)


@pytest.fixture(scope="module")
def searched(ray_cluster, phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    run(out, phantom_store, SEARCHING)
    return out


def test_a_search_keeps_the_sample_with_the_best_validation_score(searched):
    """Of those that were not given up on, which have a score on every fold."""
    scores = {}
    for sample in range(2):
        cells = [Cell("e2e severity", fold, sample) for fold in range(3)]
        if all(RunFolder(searched).cell(cell).is_finished for cell in cells):
            costs = [json.loads((RunFolder(searched).cell(c).cost).read_text()) for c in cells]
            scores[sample] = sum(cost["val_scores"]["score"] for cost in costs)
    best = max(scores, key=lambda sample: scores[sample])
    for fold in range(3):
        chosen = RunFolder(searched).cell(Cell("e2e severity", fold, best)).predictions
        own = RunFolder(searched).cell(Cell("e2e severity", fold)).predictions
        assert own.read_bytes() == chosen.read_bytes()


def test_a_search_that_was_killed_goes_on_and_chooses_over_all_folds(searched, phantom_store):
    before = [probabilities(searched, "e2e severity", fold) for fold in range(3)]
    for fold in range(3):
        RunFolder(searched).cell(Cell("e2e severity", fold)).predictions.unlink()
    RunFolder(searched).cell(Cell("e2e severity", 1, 0)).predictions.unlink()
    run(searched, phantom_store, SEARCHING)
    for fold in range(3):
        assert np.array_equal(probabilities(searched, "e2e severity", fold), before[fold])
