"""Lost processes and errors of a cell; a killed process resumes to the same metrics."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray

from experiments.biomarkers import EXPERIMENT
from lus_ray.orchestration import campaign, run_options
from lus_ray.orchestration.cluster import connection
from lus_ray.orchestration.failures import WorkerLostError, describe_loss, is_loss
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest

CELL = Cell("e2e severity", 0)
NUM_EPOCHS = 8
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


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose processes save the training state after every epoch."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**connection.QUIET, "LUS_STATE_SECONDS": "0"}.items():
            patch.setenv(name, value)
        ray.init(
            address="local", num_cpus=3, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield
        ray.shutdown()


def run(data: Path, out: Path, *settings: str) -> list[str]:
    """Run one cell; the lines of its metrics."""
    settings = (f"arm.recipe.epochs={NUM_EPOCHS}", *settings)
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms=CELL.arm, settings=settings)
    campaign.run(RunRequest(chosen, data=data, out=out, size="smoke", folds=(CELL.fold,)))
    return read_metrics(out)


def read_metrics(out: Path) -> list[str]:
    path = RunFolder(out).cell(CELL).metrics
    return path.read_text().splitlines() if path.exists() else []


class Killer(threading.Thread):
    """Kills the process that `find` returns after two epochs; measures the time to the next one."""

    def __init__(self, out: Path, find) -> None:
        super().__init__(daemon=True)
        self.out, self.find, self.retry_s, self.title = out, find, None, ""
        self.start()

    def run(self) -> None:
        while len(read_metrics(self.out)) < 2:
            time.sleep(0.02)
        while (pid := self.find(self.out)) is None:
            time.sleep(0.02)
        self.title = " ".join(psutil.Process(pid).cmdline())
        os.kill(pid, signal.SIGKILL)
        start, known = time.monotonic(), read_metrics(self.out)
        while read_metrics(self.out)[: len(known) + 1] == known:
            time.sleep(0.05)
        self.retry_s = time.monotonic() - start


def find_trial(out: Path) -> int:
    return json.loads((RunFolder(out).cell(CELL).starts).read_text())[-1]["pid"]


def find_train_worker(out: Path) -> int | None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                return process.pid
    return None


@pytest.mark.full
@pytest.mark.ray
@pytest.mark.parametrize(("workers", "find"), [(1, find_trial), (2, find_train_worker)])
def test_a_killed_process_is_replaced_and_the_metrics_are_the_same(
    cluster, phantom_store, tmp_path, capfd, workers, find
):
    settings = [f"arm.recipe.workers={workers}"]
    expected = run(phantom_store, tmp_path / "undisturbed", *settings)
    killer = Killer(tmp_path / "killed", find)
    metrics = run(phantom_store, tmp_path / "killed", *settings)
    assert metrics == expected
    assert len(metrics) == NUM_EPOCHS
    errors = capfd.readouterr().err
    assert "its process was killed" in errors
    assert "retry 1 of 3" in errors
    folder = RunFolder(tmp_path / "killed").cell(CELL)
    assert len(json.loads(folder.starts.read_text())) == 2
    assert "after" in " ".join(json.loads(folder.cost.read_text())["notes"])
    killer.join(5)
    assert killer.retry_s is not None
    assert killer.retry_s < RETRY_S
    assert workers > 1 or CELL.name in killer.title
