"""A process that is killed under a cell: the cell goes on from its last state, to the same end."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from experiments.biomarkers import EXPERIMENT
from lus_ray.orchestration import campaign, run_options
from lus_ray.orchestration.failures import WorkerLostError, describe_loss, is_loss
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CELL = Cell("e2e severity", 0)
NUM_EPOCHS = 8
SECONDS = 30 * max(1.0, os.getloadavg()[0] / 2)
"""A killed worker is back within so many; later where the machine has other work, too."""


@pytest.fixture(autouse=True, scope="module")
def every_epoch():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUS_STATE_SECONDS", "0")
        yield


def run(data: Path, out: Path, *settings: str) -> list[str]:
    """Run one cell to its end; the lines of its metrics."""
    chosen = run_options.apply_options(
        EXPERIMENT, "smoke", arms=CELL.arm, settings=[f"arm.recipe.epochs={NUM_EPOCHS}", *settings]
    )
    campaign.run(RunRequest(chosen, data=data, out=out, size="smoke", folds=(CELL.fold,)))
    return lines(out)


def lines(out: Path) -> list[str]:
    path = RunFolder(out).cell(CELL).metrics
    return path.read_text().splitlines() if path.exists() else []


class Killer(threading.Thread):
    """Kills what `victim` finds once the cell has told of two epochs; measures the way back."""

    def __init__(self, out: Path, victim) -> None:
        super().__init__(daemon=True)
        self.out, self.victim, self.took, self.title = out, victim, None, ""
        self.start()

    def run(self) -> None:
        while len(lines(self.out)) < 2:
            time.sleep(0.02)
        while (victim := self.victim(self.out)) is None:
            time.sleep(0.02)
        self.title = " ".join(psutil.Process(victim).cmdline())
        os.kill(victim, signal.SIGKILL)
        began, known = time.monotonic(), lines(self.out)
        while lines(self.out)[: len(known) + 1] == known:
            time.sleep(0.05)
        self.took = time.monotonic() - began


def trial_process(out: Path) -> int:
    return json.loads((RunFolder(out).cell(CELL).starts).read_text())[-1]["pid"]


def train_worker(out: Path) -> int | None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                return process.pid
    return None


@pytest.mark.parametrize(("workers", "victim"), [(1, trial_process), (2, train_worker)])
def test_a_killed_process_is_replaced_and_the_cell_ends_with_the_same_metrics(
    ray_cluster, phantom_store, tmp_path, capfd, workers, victim
):
    settings = [f"arm.recipe.workers={workers}"]
    expected = run(phantom_store, tmp_path / "undisturbed", *settings)
    killer = Killer(tmp_path / "killed", victim)
    told = run(phantom_store, tmp_path / "killed", *settings)
    assert told == expected
    assert len(told) == NUM_EPOCHS
    assert "its process was killed; again from its last state (1 of 3" in capfd.readouterr().err
    folder = RunFolder(tmp_path / "killed").cell(CELL).path
    assert len(json.loads((folder / "starts.json").read_text())) == 2
    assert any(
        "went on after" in n for n in json.loads((folder / "cost.json").read_text())["notes"]
    )
    killer.join(5)
    assert killer.took is not None
    assert killer.took < SECONDS
    assert workers > 1 or CELL.name in killer.title
    with capfd.disabled():
        print(f"\n  {workers} workers: the next epoch {killer.took:.1f} s after the kill")


@pytest.mark.parametrize(
    ("told", "cause_of_it"),
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
def test_what_ray_tells_of_a_death_is_put_in_words(told, cause_of_it):
    assert describe_loss(told) == cause_of_it


def test_an_error_of_the_cell_is_no_loss():
    assert not is_loss(ValueError("a wrong value"))
    outer = RuntimeError("around")
    outer.__cause__ = WorkerLostError("gone")
    assert is_loss(outer)
