"""Campaigns on a real Ray cluster: inputs first, a search, resume, workers, large stores."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from experiments.biomarkers import EXPERIMENT
from lus_ray import report
from lus_ray.data import store
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.errors import CellError, InputError
from lus_ray.experiment import Arm
from lus_ray.orchestration import campaign, run_options
from lus_ray.orchestration.scheduler import val_score
from lus_ray.predictor import Predictor
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest
from lus_ray.tasks import Expert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

FOLDS = (0, 1)
SEARCHED = "e2e severity"


def choose(arms, *settings):
    settings = ("arm.recipe.epochs=1", *settings)
    return run_options.apply_options(EXPERIMENT, "smoke", arms=arms, settings=settings)


NETWORK = choose("biomarkers")
ALL = choose(
    f"{SEARCHED},e2e severity from biomarkers,NN on biomarkers, severity",
    f"{SEARCHED}.recipe.epochs=2",
)
ALL = ALL.with_arms(
    tuple(
        replace(arm, search=replace(arm.search, samples=2)) if arm.name == SEARCHED else arm
        for arm in ALL.arms
    )
)


def run(out, store, experiment=ALL, folds=FOLDS):
    campaign.run(RunRequest(experiment, data=store, out=out, size="smoke", folds=folds))


def folder(out, arm, fold, sample=None):
    return RunFolder(out).cell(Cell(arm, fold, sample))


def read(out, arm, fold):
    return predictions.read(folder(out, arm, fold).predictions)[1]


@pytest.fixture(scope="module")
def finished(ray_cluster, phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("campaign")
    run(out, phantom_store)
    return out


def test_every_cell_is_reported_and_folds_are_disjoint(finished):
    contents = report.write(finished).contents
    assert [arm.name for arm in contents.arms] == [arm.name for arm in ALL.arms]
    assert all(len(arm.folds) == len(FOLDS) for arm in contents.arms)
    assert (finished / "report.html").stat().st_size > 10_000
    folds = json.loads((finished / "folds.json").read_text())["folds"]
    assert len(folds) == 3
    for fold in folds:
        splits = [set(fold[split]) for split in ("train", "val", "test")]
        assert sum(map(len, splits)) == len(set.union(*splits)) == 24


def test_a_search_keeps_the_sample_with_the_best_validation_score(finished):
    scores = {}
    for sample in range(2):
        cells = [folder(finished, SEARCHED, fold, sample) for fold in FOLDS]
        if all(cell.is_finished for cell in cells):  # the others were pruned
            scores[sample] = sum(val_score(cell) for cell in cells)
    best = max(scores, key=lambda sample: scores[sample])
    for fold in FOLDS:
        selected, own = (folder(finished, SEARCHED, fold, number) for number in (best, None))
        assert own.predictions.read_bytes() == selected.predictions.read_bytes()


def test_a_second_run_runs_missing_cells_alone_with_equal_predictions(finished, phantom_store):
    missing = [("biomarkers", 1), *((SEARCHED, fold) for fold in FOLDS)]
    before = [read(finished, *cell) for cell in missing]
    for cell in (*missing, (SEARCHED, 1, 0)):
        folder(finished, *cell).predictions.unlink()
    times = {path: path.stat().st_mtime_ns for path in finished.glob("**/*.parquet")}
    run(finished, phantom_store)
    assert all(read(finished, *cell).equals(b) for cell, b in zip(missing, before, strict=True))
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_folder_with_another_run_or_in_use_is_refused(finished, phantom_store):
    with pytest.raises(InputError, match="other settings; choose another --out"):
        run(finished, phantom_store, choose(SEARCHED, "arm.recipe.lr=0.5"))
    with pytest.raises(InputError, match="holds a run with seed"):
        run(finished, phantom_store, replace(ALL, seed=1))
    with (
        RunFolder(finished).lock(),
        pytest.raises(InputError, match=r"process \d+ on .* is running"),
    ):
        run(finished, phantom_store)


def test_a_failed_cell_is_named_and_blocks_its_readers_while_the_rest_finishes(
    phantom_store, tmp_path
):
    (trained,) = NETWORK.arms
    arms = (
        trained,
        replace(trained, name="impossible", recipe=replace(trained.recipe, lr=1e30)),
        Arm("reader", partial(Expert, kind="NN", label="severity"), reads="impossible"),
    )
    with pytest.raises(CellError, match=r"2 cells failed .*impossible/fold0"):
        run(tmp_path, phantom_store, NETWORK.with_arms(arms), (0,))
    assert folder(tmp_path, "biomarkers", 0).is_finished
    assert "lower the learning rate" in folder(tmp_path, "impossible", 0).error.read_text()


@pytest.mark.full
def test_clips_beyond_shared_memory_are_mapped_or_streamed_to_the_same_predictions(
    finished, phantom_store, tmp_path, monkeypatch, capfd
):
    expected = read(finished, "biomarkers", 0)
    monkeypatch.setattr(shared_memory, "SHARE", 0.0)
    run(tmp_path / "disk", phantom_store, NETWORK, (0,))
    assert read(tmp_path / "disk", "biomarkers", 0).equals(expected)
    monkeypatch.setattr(memmap, "SPARE_BYTES", 1 << 60)
    monkeypatch.setattr(memmap, "cache_folder", lambda files: tmp_path / "another cache")
    run(tmp_path / "streamed", phantom_store, NETWORK, (0,))
    assert read(tmp_path / "streamed", "biomarkers", 0).equals(expected)
    assert capfd.readouterr().err.count("clips are streamed from the store") == 1


@pytest.mark.full
def test_two_workers_train_an_arm_whose_checkpoint_predicts(phantom_store, tmp_path):
    run(tmp_path, phantom_store, choose("biomarkers", "arm.recipe.workers=2"), (0,))
    predictor = Predictor(folder(tmp_path, "biomarkers", 0).checkpoint)
    rows = read(tmp_path, "biomarkers", 0).to_pylist()[:4]
    clips = store.read(phantom_store, [row["clip"] for row in rows])
    for row, clip in zip(rows, clips, strict=True):
        stored = pytest.approx(np.array(row["probability"]), abs=1e-5)
        assert predictor(clip)["probability"] == stored
