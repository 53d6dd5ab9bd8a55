"""The contract of every arm of every experiment: in its smoke size it learns, predicts, resumes.

Nothing here names an arm: a new experiment or arm is tested because it is there.
"""

import importlib
import json
import math
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments
from lus_ray import checkpoint, predictions, store
from lus_ray.batches import InMemory
from lus_ray.clip import SCHEMA, frames_of
from lus_ray.engine import campaign, plan, record
from lus_ray.engine.cell import Cell, Work
from lus_ray.engine.running import run
from lus_ray.experiment import Experiment
from lus_ray.predictor import Predictor
from lus_ray.tasks.expert import Expert
from lus_ray.tasks.task import Task
from lus_ray.views import View

pytestmark = pytest.mark.slow
NAMES = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def experiment_named(name: str) -> Experiment:
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def pixels_of(data: Path, experiment: Experiment) -> InMemory:
    clips = list(store.read(data))
    sizes = campaign._sizes(experiment)
    views = {size: View(height=size[0], width=size[1]) for size in sizes}
    return InMemory(
        {s: {c["clip"]: v.resize(frames_of(c)) for c in clips} for s, v in views.items()}
    )


@pytest.fixture(scope="module", params=NAMES)
def finished(request, phantom_store, tmp_path_factory) -> Work:
    """Every arm of an experiment on its first fold, one after another in this process."""
    torch.set_num_threads(1)
    experiment = experiment_named(request.param).at("smoke")
    out = tmp_path_factory.mktemp(request.param)
    index = store.index(phantom_store)
    work = record.prepare(experiment, index, out, size="smoke", about={}, data=phantom_store)
    pixels = pixels_of(phantom_store, experiment)
    for cell in plan.cells(experiment, work.folds[:1]):
        run(cell, work, pixels, lambda values: None)
    return work


def test_every_arm_leaves_a_finished_cell_with_its_cost(finished):
    for arm in finished.experiment.arms:
        cell = Cell(arm.name, 0)
        assert cell.finished(finished.out), arm.name
        cost = json.loads((cell.folder(finished.out) / "cost.json").read_text())
        assert cost["wall_s"] > 0
        assert cost["peak_mb"] > 0


def test_every_arm_predicts_every_clip_of_the_fold_on_the_right_side(finished):
    fold = finished.folds[0]
    for arm in finished.experiment.arms:
        about, table = predictions.read(Cell(arm.name, 0).predictions(finished.out))
        rows = table.to_pylist()
        assert (about.arm, about.label, about.fold) == (arm.name, arm.label, 0)
        assert {r["clip"] for r in rows} == {r["clip"] for r in finished.rows}, arm.name
        assert all(r["split"] == fold.split_of(r["patient"]) for r in rows)
        assert not set(table.column_names) & {"frames", "masks"}
        assert set(table.column_names) < {*SCHEMA.names, "fold", "split", "target", "probability",
                                          "outputs", "features"}  # fmt: skip


def test_every_probability_is_one(finished):
    for arm in finished.experiment.arms:
        about, table = predictions.read(Cell(arm.name, 0).predictions(finished.out))
        if arm.label is None:
            continue
        probability = np.array(table["probability"].to_pylist())
        assert probability.shape == (len(finished.rows), len(about.classes)), arm.name
        assert np.isfinite(probability).all()
        assert probability.min() >= 0
        assert probability.max() <= 1 + 1e-6
        if not about.multilabel:
            assert probability.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_every_checkpoint_gives_the_stored_predictions_again(finished, phantom_store):
    clips = {row["clip"]: row for row in store.read(phantom_store)}
    for arm in finished.experiment.arms:
        if arm.crossfit:
            continue
        cell = Cell(arm.name, 0)
        predictor = Predictor(cell.folder(finished.out) / "checkpoint")
        rows = predictions.read(cell.predictions(finished.out))[1].to_pylist()[:3]
        read = arm.reads and predictions.read(Cell(arm.reads, 0).predictions(finished.out))[1]
        inputs = {row["clip"]: row for row in read.to_pylist()} if read else clips
        for row in rows:
            said = predictor(inputs[row["clip"]])
            for name in ("probability", "features"):
                if name in said:
                    assert said[name] == pytest.approx(np.array(row[name]), abs=1e-5), arm.name


def test_every_arm_is_described_so_that_it_can_be_built_again(finished):
    record = json.loads((finished.out / "experiment.json").read_text())
    for arm in record["arms"]:
        task = checkpoint.build(arm["task"])
        assert isinstance(task, Task | Expert)


def test_a_cell_run_again_gives_the_same_bits(finished, phantom_store):
    learned = next(arm for arm in finished.experiment.arms if arm.recipe is not None)
    pixels = pixels_of(phantom_store, finished.experiment)
    cell = Cell(learned.name, 0)
    before = predictions.read(cell.predictions(finished.out))[1]
    run(cell, finished, pixels, lambda values: None)
    assert predictions.read(cell.predictions(finished.out))[1].equals(before)


def test_cross_fitted_outputs_differ_where_the_model_had_seen_the_clip(finished):
    for arm in finished.experiment.arms:
        if not arm.crossfit:
            continue
        own = predictions.read(Cell(arm.name, 0).predictions(finished.out))[1].to_pylist()
        other = predictions.read(Cell(arm.reads, 0).predictions(finished.out))[1].to_pylist()
        for one, two in zip(own, other, strict=True):
            same = one["probability"] == two["probability"]
            assert same == (one["split"] != "train"), (arm.name, one["clip"])


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_three_sizes_and_a_header_that_says_what_it_is(name):
    module = importlib.import_module(f"experiments.{name}")
    for word in ("Table", "Question", "Data", "Splits", "Run", "Try"):
        assert f"\n{word} " in module.__doc__, word
    experiment = module.EXPERIMENT
    assert experiment.name == name
    for size in ("smoke", "laptop", "full"):
        assert experiment.at(size).arms
    assert any(arm.baseline for arm in experiment.arms)


@pytest.mark.parametrize("name", NAMES)
def test_published_values_are_fractions_of_one(name):
    for row in experiment_named(name).published.values():
        for mean, std in row.values():
            assert 0 < mean < 1
            assert std is None or (0 <= std < 1 and math.isfinite(std))
