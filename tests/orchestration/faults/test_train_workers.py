"""Both workers of Ray Train killed in the middle of an epoch: run again, to the bits of one run."""

import contextlib
import json
import time

import psutil
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder, RunFolder
from lus_ray.training.state import KEY
from tests.orchestration.faults.command import Command, results

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.timeout(900)]

ARM = "e2e severity"
SETTINGS = ("workers=2", "batch=2", "epochs=3")
OPTIONS = ("--folds", "0", *(word for s in SETTINGS for word in ("--set", f"arm.recipe.{s}")))
TIMEOUT_S = 300.0


def read_position(cell: CellFolder) -> tuple[int, int]:
    """Complete epochs and further steps of the state."""
    try:
        with safe_open(cell.state, "pt") as file:
            info = json.loads(file.metadata()[KEY])
    except OSError:
        return 0, 0
    return len(info["past"]), (info["unfinished"] or {"step": 0})["step"]


def kill_in_epoch(command: Command, cell: CellFolder) -> None:
    """Kill every process once the state is of steps of the second epoch or a later one."""
    deadline = time.monotonic() + TIMEOUT_S
    while not all(read_position(cell)):
        assert command.process.poll() is None, command.lines
        assert time.monotonic() < deadline, command.lines
        time.sleep(0.01)
    workers = [p for p in command.processes() if "RayTrainWorker" in " ".join(p.cmdline())]
    assert len(workers) == 2
    for process in workers + command.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    command.wait(30)


def test_two_workers_that_are_killed_in_an_epoch_resume_to_the_same_bits(phantom_store, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    commands = [Command(phantom_store, killed, *OPTIONS, arms=ARM)]
    cell, expected = (RunFolder(out).cell(Cell(ARM, 0)) for out in (killed, whole))
    kill_in_epoch(commands[0], cell)
    epoch, step = read_position(cell)
    assert (epoch > 0, step % 16, step > 0) == (True, 0, True)
    assert not cell.is_finished
    for out in (killed, whole):
        command = Command(phantom_store, out, *OPTIONS, arms=ARM)
        assert command.wait(TIMEOUT_S) == 0, command.lines
        assert command.left_over() == []
    assert cell.metrics.read_text() == expected.metrics.read_text()
    weights = [load_file(own.checkpoint / "weights.safetensors") for own in (cell, expected)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])
    assert results(killed) == results(whole)
    assert any(
        f"after {epoch} epochs" in note for note in json.loads(cell.cost.read_text())["notes"]
    )
