"""A process killed while it writes leaves the earlier file or the new one, whole."""

import json
import multiprocessing
import os
import random
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # Adam imports it at its first use: here once, and not in every process

from lus_ray.data.transforms.view import View
from lus_ray.nets import TSM
from lus_ray.runs import predictions
from lus_ray.storage import files
from lus_ray.tasks import ClipLabel
from lus_ray.training import checkpoint, state

VIEW = View(num_frames=2, height=16, width=16, num_samples=1)
TASK = partial(ClipLabel, backbone=partial(TSM, width=8), label="severity", view=VIEW)
SERVER = multiprocessing.get_context("forkserver")
"""Its processes fork from one that imported this module and has no threads, which a fork loses."""
SERVER.set_forkserver_preload([__name__])
NUM_STEPS = 9
"""Calls to the disk while a checkpoint takes the place of another one."""
NUM_WRITES = {"checkpoint": 200, "state": 100, "predictions": 50, "text": 50}


def write_checkpoint(path: Path, number: int) -> None:
    checkpoint.save(path, filled(number), checkpoint.describe(TASK), seed=number)


def read_checkpoint(path: Path) -> int:
    number = value(checkpoint.load(path))
    assert json.loads((checkpoint.locate(path) / "task.json").read_text())["seed"] == number
    return number


def write_state(path: Path, number: int) -> None:
    task = filled(number)
    adam = {"net": torch.optim.Adam(task.parameters())}
    state.TrainingState(path, every_s=0).save(
        task, adam, state.TrainingProgress(past=[state.EpochRecord(number, number, "")])
    )


def read_state(path: Path) -> int:
    task = TASK()
    done = state.TrainingState(path).load(task, {"net": torch.optim.Adam(task.parameters())})
    assert done.notes == []
    assert [epoch.score for epoch in done.past] == [value(task)]
    return value(task)


def write_predictions(path: Path, number: int) -> None:
    info = predictions.PredictionInfo("cnn", number, "severity", ("0", "1"), False, "f")
    predictions.write(path, [], info)


def read_predictions(path: Path) -> int:
    return predictions.read(path)[0].fold


def write_text(path: Path, number: int) -> None:
    files.write_text(path, f"{number} " * 10_000)


def read_text(path: Path) -> int:
    (number,) = set(path.read_text().split())
    return int(number)


KINDS = {
    "checkpoint": (write_checkpoint, read_checkpoint),
    "state": (write_state, read_state),
    "predictions": (write_predictions, read_predictions),
    "text": (write_text, read_text),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_leaves_the_last_file_or_the_one_being_written(tmp_path, kind):
    write, read = KINDS[kind]
    path, rng = tmp_path / kind, random.Random(0)
    write(path, 1)
    last = 1
    while last < NUM_WRITES[kind]:
        done = SERVER.RawValue("i", last)
        writer = SERVER.Process(target=write_on, args=(write, path, done))
        writer.start()
        while done.value == last:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        writer.join()
        assert read(path) in (done.value, done.value + 1)
        last = done.value


@pytest.mark.slow
@pytest.mark.parametrize("step", range(NUM_STEPS + 1))
def test_a_checkpoint_is_whole_after_a_kill_at_any_step(tmp_path, step):
    path = tmp_path / "checkpoint"
    write_checkpoint(path, 1)
    writer = SERVER.Process(target=write_and_die, args=(path, step))
    writer.start()
    writer.join()
    assert read_checkpoint(path) in (1, 2)
    assert (writer.exitcode == 9) == (step < NUM_STEPS)
    write_checkpoint(path, 3)
    assert read_checkpoint(path) == 3
    assert not (tmp_path / ".checkpoint.before").exists()


def test_a_checkpoint_that_a_kill_left_moved_away_is_found(tmp_path):
    path = tmp_path / "checkpoint"
    write_checkpoint(path, 1)
    path.rename(tmp_path / ".checkpoint.before")
    assert read_checkpoint(path) == 1


def write_and_die(path: Path, step: int) -> None:
    """Write a checkpoint and die just before the call of this number that changes the disk."""
    left = step

    def dying(action):
        def instead(*args, **named):
            nonlocal left
            if left == 0:
                os._exit(9)
            left -= 1
            return action(*args, **named)

        return instead

    Path.rename = dying(Path.rename)  # in a process that ends with this function
    shutil.rmtree = dying(shutil.rmtree)
    files.fsync = dying(files.fsync)
    write_checkpoint(path, 2)


def write_on(write, path: Path, done) -> None:
    while True:
        write(path, done.value + 1)
        done.value += 1


def filled(number: int):
    task = TASK()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.fill_(number)
    return task


def value(task) -> int:
    """The number with which every parameter is filled."""
    (number,) = {float(v) for p in task.parameters() for v in np.unique(p.detach().numpy())}
    return int(number)
