"""Lost processes and errors of a cell; a killed process resumes to the same metrics."""

import json
import os
import time

import pytest

from lus_ray.orchestration.failures import WorkerLostError, describe_loss, is_loss
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from tests.orchestration.faults.command import Command

CELL = Cell("e2e severity", 0)
RETRY_S = 30 * max(1.0, os.getloadavg()[0] / 2)
"""Time to replace a killed process; more on a busy machine."""


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("The actor is dead because its node has died.", "its machine was lost"),
        ("Worker exit type: NODE_OUT_OF_MEMORY Worker exit detail:", "it ran out of memory"),
        (
            "its worker process has died. Worker exit type: SYSTEM_ERROR Some common causes "
            "include: (1) the process was killed by the OOM killer due to high memory usage",
            "its process was killed",
        ),
        ("ray::trial()\nlus_ray.errors.CellError: runs/a: host does not see it", None),
        ("ray::trial()\nOSError: [Errno 28] No space left on device", None),
    ],
)
def test_a_loss_is_described_and_an_error_of_the_cell_is_none(text, loss):
    assert describe_loss(text) == loss


def test_an_error_that_wraps_a_loss_is_a_loss():
    assert not is_loss(ValueError("a wrong value"))
    outer = RuntimeError("around")
    outer.__cause__ = WorkerLostError("gone")
    assert is_loss(outer)


@pytest.mark.full
@pytest.mark.ray
@pytest.mark.parametrize(("workers", "title"), [(1, CELL.name), (2, "RayTrainWorker")])
def test_a_killed_process_is_replaced_and_the_metrics_are_the_same(
    phantom_store, tmp_path, workers, title
):
    def start(name):
        options = ("--folds", "0", "--set", f"arm.recipe.workers={workers}")
        command = Command(phantom_store, tmp_path / name, *options, arms=CELL.arm)
        return command, RunFolder(command.out).cell(CELL)

    undisturbed, expected = start("undisturbed")
    assert undisturbed.wait(300) == 0
    command, folder = start("killed")
    while len(read_metrics(folder)) < 2:
        time.sleep(0.02)
    next(p for p in command.processes() if title in " ".join(p.cmdline())).kill()
    began, known = time.monotonic(), read_metrics(folder)
    while read_metrics(folder)[: len(known) + 1] == known:
        time.sleep(0.05)
    assert time.monotonic() - began < RETRY_S
    assert command.wait(300) == 0
    assert read_metrics(folder) == read_metrics(expected)
    errors = "\n".join(command.lines)
    assert "its process was killed" in errors
    assert "retry 1 of 3" in errors
    assert len(json.loads(folder.starts.read_text())) == 2
    assert "after" in " ".join(json.loads(folder.cost.read_text())["notes"])


def read_metrics(folder) -> list[str]:
    return folder.metrics.read_text().splitlines() if folder.metrics.exists() else []
