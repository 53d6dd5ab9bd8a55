"""A study file on a real cluster: its classes reach every process, and its models need the file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lus_ray import study_files
from lus_ray.data import store
from lus_ray.errors import CheckpointError, InputError
from lus_ray.inference.model_selection import select_models
from lus_ray.orchestration import campaign, run_options
from lus_ray.predictor import Predictor
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SOURCES = Path(__file__).with_name("own_study")


@pytest.fixture
def study(tmp_path):
    """A study with a network beside it, in a folder of its own."""
    shutil.copytree(SOURCES, tmp_path / "own")
    return tmp_path / "own" / "small_study.py"


def run(study, data, out, **options):
    options = {"size": "smoke", "folds": "0", "notify": print, **options}
    campaign.run(run_options.build_request(str(study), data=data, out=out, **options))


def test_the_models_of_a_study_file_are_loaded_with_that_file_alone(
    study, phantom_store, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    run(study, phantom_store, out)
    checkpoint = RunFolder(out).cell(Cell("own task", 0)).checkpoint
    record = json.loads((checkpoint / "task.json").read_text())["file"]
    assert record == study_files.load(study).record
    assert json.loads((out / "experiment.json").read_text())["experiment"] == "small_study"

    path = RunFolder(out).cell(Cell("own task", 0)).predictions
    (row, *_) = predictions.read(path)[1].to_pylist()
    (clip,) = store.read(phantom_store, [row["clip"]])
    stored = pytest.approx(np.array(row["probability"]), abs=1e-5)
    assert Predictor(checkpoint)(clip)["probability"] == stored

    monkeypatch.setattr(study_files, "_loaded", {})  # as a new process
    with pytest.raises(CheckpointError, match=r"with small_study.py \(sha256 .*with --study"):
        Predictor(checkpoint)
    with pytest.raises(CheckpointError, match="give that file with --study"):
        select_models([out])
    skipped = []
    assert select_models([out], on_skip=lambda folder, why: skipped.append(why)) == ()
    assert len(skipped) == 1
    study.write_text(study.read_text() + "# changed\n")
    with pytest.raises(InputError, match=r"was run with another small_study.py; choose another"):
        run(study, phantom_store, out)
    with pytest.raises(CheckpointError, match="is not the file that it was trained with"):
        Predictor(checkpoint)


@pytest.mark.full
def test_the_workers_of_a_cell_know_the_classes(study, phantom_store, tmp_path):
    settings = ("arm.recipe.workers=2",)
    run(study, phantom_store, tmp_path / "run", arms="own network", settings=settings)
    assert RunFolder(tmp_path / "run").cell(Cell("own network", 0)).is_finished
