"""Nothing waits in silence: cells that find no room and cells that say nothing are told of."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray import tune

from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.resources import Cluster, read_free_resources
from lus_ray.orchestration.scheduler import Schedule
from lus_ray.runs.cell import Cell

SILENT_SECONDS = 60
LOOK_SECONDS = 1
"""Tune calls many times a second, with every trial that there ever was."""


class StallWarnings(tune.Callback):
    """Tells after a minute, and again after two, four and so on, what a cell waits for.

    Called by Tune all the time, also while nothing happens.
    """

    def __init__(self, schedule: Schedule, needs: Mapping[str, planner.CellResources]) -> None:
        self.schedule, self.needs = schedule, needs
        self.pending: dict[str, float] = {}
        self.next: dict[str, float] = {}
        self.looked = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at every cell that was handed out."""
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        for trial in trials:
            cell = self.schedule.running.get(trial.trial_id)
            if cell is None:
                self.pending.pop(trial.trial_id, None)
                self.next.pop(trial.trial_id, None)
            elif trial.status == "PENDING":
                since = self.pending.setdefault(trial.trial_id, now)
                self._say(trial.trial_id, now - since, partial(self._why, cell))
            else:
                if self.pending.pop(trial.trial_id, None) is not None:
                    self.next.pop(trial.trial_id, None)
                    self.schedule.heard[trial.trial_id] = now
                since = self.schedule.heard.get(trial.trial_id, now)
                if now - since < SILENT_SECONDS:
                    self.next.pop(trial.trial_id, None)
                told = partial("{} runs and has told nothing".format, cell.name)
                self._say(trial.trial_id, now - since, told)

    def _say(self, trial_id: str, seconds: float, text: Callable[[], str]) -> None:
        due = self.next.get(trial_id, SILENT_SECONDS)
        if seconds >= due:
            self.next[trial_id] = 2 * due
            self.schedule.observer.notify(f"{seconds:.0f} s: {text()}")

    def _why(self, cell: Cell) -> str:
        handed_out = self.schedule.running.items()
        others = [c.name for trial_id, c in handed_out if trial_id not in self.pending]
        wanted = self.needs[cell.arm]
        wait = planner.explain_wait(wanted, Cluster.current(), read_free_resources(), others)
        return f"{cell.name} waits for {wait}"
