"""Cells that find no room, and cells that say nothing: when they are told of, and what for."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from lus_ray.orchestration import stall_warnings
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.orchestration.planner import CellResources
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.orchestration.stall_warnings import StallWarnings
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from tests.orchestration.scaling import experiment
from tests.orchestration.test_scheduler import Heard

NEEDS = {"intensity": CellResources(1, 0.0, 0)}


@dataclass
class Trial:
    """What is read of Tune's trials."""

    trial_id: str
    status: str = "PENDING"


@pytest.fixture
def clock(monkeypatch):
    """The time that the module sees; a cluster of one CPU, which is held."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(stall_warnings.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(
        stall_warnings.Cluster, "current", staticmethod(lambda: Cluster((Node(1.0),)))
    )
    monkeypatch.setattr(stall_warnings, "read_free_resources", lambda: [Node(0.0)])
    return now


class Told(Heard):
    """A observer that remembers the lines, too."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def notify(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def campaign(tmp_path):
    """A schedule that has handed out two cells, as the trials "a" and "b"."""
    cells = (Cell("intensity", 0), Cell("intensity", 1))
    plan = RunPlan(experiment(6), "smoke", (), (), "", RunFolder(tmp_path), cells)
    schedule = CellScheduler(plan, Told(), lambda cell: 0.0)
    for trial_id in ("a", "b"):
        schedule.suggest(trial_id)
    return schedule


def seen(watch, clock, trials, *, at):
    """Look at every second up to one."""
    for second in range(int(clock.seconds) - 1000, at + 1):
        clock.seconds = 1000.0 + second
        watch.on_step_begin(0, trials)


def test_who_waits_for_a_minute_is_told_of_and_then_after_twice_as_long_each_time(clock, campaign):
    watch = StallWarnings(campaign, NEEDS)
    trials = [Trial("a"), Trial("b", "RUNNING")]
    seen(watch, clock, trials, at=59)
    assert campaign.observer.said == []
    campaign.last_report["b"] = 1059.0
    seen(watch, clock, trials, at=100)
    (line,) = campaign.observer.said
    assert line == "intensity/fold0 has waited 60 s for 1 CPU: 1 of 1 are in use by intensity/fold1"
    campaign.last_report["b"] = 1400.0
    seen(watch, clock, trials, at=300)
    assert [line.split()[3] for line in campaign.observer.said] == ["60", "120", "240"]


def test_who_says_nothing_for_a_minute_is_told_of_until_it_says_something(clock, campaign):
    watch = StallWarnings(campaign, NEEDS)
    trials = [Trial("a", "RUNNING")]
    campaign.last_report["a"] = 1000.0
    seen(watch, clock, trials, at=119)
    assert campaign.observer.said == ["intensity/fold0 is running; no progress for 60 s"]
    campaign.last_report["a"] = 1119.0
    seen(watch, clock, trials, at=178)
    assert len(campaign.observer.said) == 1
    seen(watch, clock, trials, at=180)
    assert campaign.observer.said[1:] == ["intensity/fold0 is running; no progress for 60 s"]


def test_a_cell_that_found_room_is_no_longer_waited_for(clock, campaign):
    watch = StallWarnings(campaign, NEEDS)
    trial = Trial("a")
    seen(watch, clock, [trial], at=30)
    trial.status = "RUNNING"
    seen(watch, clock, [trial], at=85)
    del campaign.running["a"]
    seen(watch, clock, [trial], at=500)
    assert campaign.observer.said == []
