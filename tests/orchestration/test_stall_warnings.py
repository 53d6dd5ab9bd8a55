"""Warnings of cells that wait for resources and of cells that report nothing."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from lus_ray.orchestration import planner
from lus_ray.orchestration.cells import stall_warnings
from lus_ray.orchestration.cells.stall_warnings import StallWarnings
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.orchestration.planner import CellResources
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from tests.orchestration.cheap_cells import experiment
from tests.orchestration.test_scheduler import RecordingObserver


def explain_wait(cell, holders):
    """On a cluster of one CPU, which is in use."""
    wanted = CellResources(1, 0.0, 0)
    return planner.explain_wait(wanted, Cluster((Node(1.0),)), [Node(0.0)], holders)


@dataclass
class Trial:
    """The attributes of Tune's trials that are read."""

    trial_id: str
    status: str = "PENDING"


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler with the trials "a" and "b"."""
    cells = (Cell("intensity", 0), Cell("intensity", 1))
    plan = RunPlan(experiment(6), "smoke", (), (), "", RunFolder(tmp_path), cells)
    return CellScheduler(plan, RecordingObserver(), lambda cell: 0.0)


@pytest.fixture
def poll(scheduler, monkeypatch):
    """`poll(trials, until)` calls back every second; returns the messages so far."""
    warnings, clock = StallWarnings(scheduler, explain_wait), SimpleNamespace(seconds=0)
    monkeypatch.setattr(stall_warnings.time, "monotonic", lambda: 1000.0 + clock.seconds)
    for trial_id in ("a", "b"):  # by this clock, too, whenever the machine was started
        scheduler.suggest(trial_id)

    def run(trials, until):
        for second in range(clock.seconds, until + 1):
            clock.seconds = second
            warnings.poll(trials)
        return scheduler.observer.messages

    return run


def test_a_pending_cell_is_reported_after_one_two_and_four_minutes(poll, scheduler):
    trials = [Trial("a"), Trial("b", "RUNNING")]
    assert poll(trials, 59) == []
    scheduler.last_report["b"] = 1059.0
    (line,) = poll(trials, 100)
    assert line == "intensity/fold0 has waited 60 s for 1 CPU: 1 of 1 are in use by intensity/fold1"
    scheduler.last_report["b"] = 1400.0
    assert [line.split()[3] for line in poll(trials, 300)] == ["60", "120", "240"]


def test_a_silent_cell_is_reported_until_it_reports_again(poll, scheduler):
    message = "intensity/fold0 is running; no progress for 60 s"
    trials = [Trial("a", "RUNNING")]
    scheduler.last_report["a"] = 1000.0
    assert poll(trials, 119) == [message]
    scheduler.last_report["a"] = 1119.0
    assert poll(trials, 178) == [message]
    assert poll(trials, 180) == [message, message]


def test_a_cell_that_starts_no_longer_counts_as_pending(poll, scheduler):
    trial = Trial("a")
    poll([trial], 30)
    trial.status = "RUNNING"
    poll([trial], 85)
    del scheduler.running["a"]
    assert poll([trial], 500) == []
