"""Every family in Ray Train on two workers without a GPU has the metrics of one process.

Batch norms are replaced, as on CPUs each worker normalises its own share; and nothing is dropped
out. All families train in one Ray Train run, as its start takes longer than they do.
"""

import json
from dataclasses import replace

import pytest
import ray
import torch
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from safetensors.torch import load_file, save_file

from lus_ray.data.loading.shared_memory import SharedFrames
from lus_ray.experiment import Arm
from lus_ray.orchestration.ray_train import train_on_worker
from lus_ray.runs import run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import Sifa
from lus_ray.training import checkpoint
from tests.training.test_workers import FAMILIES, Training, random_clips

NUM_EPOCHS, NUM_CLIPS = 5, 8


def training(family):
    return Training(family, "none", NUM_EPOCHS)


def arm_of(family):
    recipe = replace(training(family).recipe, draws=NUM_CLIPS, val_samples=2)  # two steps an epoch
    return Arm(family, FAMILIES[family], recipe)


def inputs_of(family):
    """What one process and two workers train on."""
    task = training(family).build()
    rows, pixels = random_clips(task, NUM_CLIPS)
    second = rows if isinstance(task, Sifa) else []
    return pixels, {"train": rows, "val": rows, "second": second, "seed": 0, "trained": None}


def train_families(configs):
    """What each worker runs: the training function of a cell for one family after the other."""
    torch.set_num_threads(1)
    rank = ray.train.get_context().get_world_rank()
    for family, config in configs.items():
        task = training(family).build()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "load", lambda folder, task=task: task)
            train_on_worker(config)
        save_file(task.state_dict(), config["folder"].path / f"{rank}.safetensors")


def train_alone(family):
    """Metrics of every epoch of one process, and its weights."""
    torch.set_num_threads(1)
    task, log = training(family).build(), []
    pixels, inputs = inputs_of(family)
    run_cell.fit_task(
        task, inputs.pop("train"), inputs.pop("val"), arm=arm_of(family), pixels=pixels,
        report=log.append, device="cpu", **inputs,
    )  # fmt: skip
    return log, task.state_dict()


@pytest.fixture(scope="module")
def folders(ray_cluster, tmp_path_factory):
    """The cell folder of each family after one Ray Train run of two workers."""
    folder = RunFolder.create(tmp_path_factory.mktemp("two workers"))
    configs = {}
    for number, family in enumerate(FAMILIES):  # file names do not tell U-Net from U-Net++
        pixels, inputs = inputs_of(family)
        parts = (pixels.frames, pixels.class_ids)
        shared = [{size: [ray.put(dict(clips))] for size, clips in part.items()} for part in parts]
        configs[family] = {
            "file": None, "arm": arm_of(family), "folder": folder.cell(Cell("net", number)),
            "shared": SharedFrames(*shared), "store": "", "first_cost": 0, **inputs,
        }  # fmt: skip
    TorchTrainer(
        train_families,
        train_loop_config=configs,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(folder.path / "train")),
    ).fit()
    return {family: config["folder"] for family, config in configs.items()}


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_metrics_of_two_workers_are_those_of_one_process(family, folders):
    folder, (log, alone) = folders[family], train_alone(family)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    first, second = (load_file(folder.path / f"{rank}.safetensors") for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert len(lines) == len(log) == NUM_EPOCHS
    for line, expected in zip(lines, log, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, nan_ok=True)
    initial = training(family).build().state_dict()
    error, change = (
        torch.cat([(a[name] - b[name]).double().flatten() for name in alone]).norm()
        for a, b in ((first, alone), (alone, initial))
    )
    assert error < 1e-3 * change
