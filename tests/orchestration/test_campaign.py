"""Campaigns on a real Ray cluster: cells in parallel, inputs first, resume, workers, searches."""

import json
from dataclasses import replace
from functools import partial

import pytest

from experiments.biomarkers import EXPERIMENT
from lus_ray import report
from lus_ray.errors import CellError, InputError
from lus_ray.experiment import Arm
from lus_ray.orchestration import campaign, run_options
from lus_ray.orchestration.scheduler import val_score
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


def folder(out, arm, fold, sample=None):
    return RunFolder(out).cell(Cell(arm, fold, sample))


def probabilities(out, arm, fold):
    return predictions.read(folder(out, arm, fold).predictions, ["probability"])[1]


@pytest.fixture(scope="module")
def finished(ray_cluster, phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("campaign")
    run(out, phantom_store)
    return out


def test_every_cell_is_reported_and_folds_are_disjoint(finished):
    contents = report.write(finished).contents
    assert [arm.name for arm in contents.arms] == [arm.name for arm in SMALL.arms]
    assert all(len(arm.folds) == 3 for arm in contents.arms)
    assert (finished / "report.html").stat().st_size > 10_000
    folds = json.loads((finished / "folds.json").read_text())["folds"]
    assert len(folds) == 3
    for fold in folds:
        splits = [set(fold[split]) for split in ("train", "val", "test")]
        assert sum(map(len, splits)) == len(set.union(*splits)) == 24


def test_a_second_run_runs_missing_cells_alone_with_equal_predictions(finished, phantom_store):
    before = probabilities(finished, "biomarkers", 1)
    folder(finished, "biomarkers", 1).predictions.unlink()
    times = {path: path.stat().st_mtime_ns for path in finished.glob("**/*.parquet")}
    run(finished, phantom_store)
    assert probabilities(finished, "biomarkers", 1).equals(before)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_folder_with_another_run_or_in_use_is_refused(finished, phantom_store):
    changed = run_options.apply_options(EXPERIMENT, "smoke", settings=["arm.recipe.lr=0.5"])
    with pytest.raises(InputError, match="other settings; choose another --out"):
        run(finished, phantom_store, changed)
    with pytest.raises(InputError, match="holds a run with seed"):
        run(finished, phantom_store, replace(SMALL, seed=1))
    with (
        RunFolder(finished).lock(),
        pytest.raises(InputError, match=r"process \d+ on .* is running"),
    ):
        run(finished, phantom_store)


def test_a_failed_cell_is_named_and_blocks_its_readers_while_the_rest_finishes(
    phantom_store, tmp_path
):
    trained = SMALL.arm("biomarkers")
    arms = (
        trained,
        replace(trained, name="impossible", recipe=replace(trained.recipe, lr=1e30)),
        Arm("reader", partial(Expert, kind="NN", label="severity"), reads="impossible"),
    )
    with pytest.raises(CellError, match=r"2 cells failed .*impossible/fold0"):
        run(tmp_path, phantom_store, SMALL.with_arms(arms), folds=(0,))
    assert folder(tmp_path, "biomarkers", 0).is_finished
    assert "lower the learning rate" in folder(tmp_path, "impossible", 0).error.read_text()


@pytest.fixture(scope="module")
def searched(ray_cluster, phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    run(out, phantom_store, SEARCHING)
    return out


def test_a_search_keeps_the_sample_with_the_best_validation_score(searched):
    scores = {}
    for sample in range(2):
        cells = [folder(searched, "e2e severity", fold, sample) for fold in range(3)]
        if all(cell.is_finished for cell in cells):  # the others were pruned
            scores[sample] = sum(val_score(cell) for cell in cells)
    best = max(scores, key=lambda sample: scores[sample])
    for fold in range(3):
        selected, own = (folder(searched, "e2e severity", fold, number) for number in (best, None))
        assert own.predictions.read_bytes() == selected.predictions.read_bytes()


def test_a_killed_search_resumes_and_selects_over_all_folds(searched, phantom_store):
    before = [probabilities(searched, "e2e severity", fold) for fold in range(3)]
    for fold in range(3):
        folder(searched, "e2e severity", fold).predictions.unlink()
    folder(searched, "e2e severity", 1, 0).predictions.unlink()
    run(searched, phantom_store, SEARCHING)
    assert [probabilities(searched, "e2e severity", fold) for fold in range(3)] == before
