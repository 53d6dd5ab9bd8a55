"""Nothing waits in silence: cells that find no room and cells that say nothing are told of."""

import time
from typing import Any

import ray
from ray import tune

from lus_ray.engine.schedule import Schedule

SILENT_SECONDS = 60


class Waiting(tune.Callback):
    """Tells after a minute, and again after two, four and so on, what a cell waits for.

    Called by Tune all the time, also while nothing happens.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.pending: dict[str, float] = {}
        self.next: dict[str, float] = {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at every cell that was handed out."""
        now = time.monotonic()
        for trial in trials:
            cell = self.schedule.running.get(trial.trial_id)
            if cell is None:
                self.pending.pop(trial.trial_id, None)
                self.next.pop(trial.trial_id, None)
            elif trial.status == "PENDING":
                since = self.pending.setdefault(trial.trial_id, now)
                self._say(trial.trial_id, now - since, f"{cell.name} waits for {_wanted(trial)}")
            else:
                if self.pending.pop(trial.trial_id, None) is not None:
                    self.next.pop(trial.trial_id, None)
                    self.schedule.heard[trial.trial_id] = now
                since = self.schedule.heard.get(trial.trial_id, now)
                if now - since < SILENT_SECONDS:
                    self.next.pop(trial.trial_id, None)
                self._say(trial.trial_id, now - since, f"{cell.name} runs and has told nothing")

    def _say(self, trial_id: str, seconds: float, text: str) -> None:
        due = self.next.get(trial_id, SILENT_SECONDS)
        if seconds >= due:
            self.next[trial_id] = 2 * due
            self.schedule.watcher.say(f"{text} for {seconds:.0f} s")


def _wanted(trial: Any) -> str:
    """What a trial asks for, and what is free."""
    wanted = {k: v for k, v in trial.placement_group_factory.required_resources.items() if v}
    free = {k: v for k, v in ray.available_resources().items() if k in ("CPU", "GPU")}
    return f"{wanted} (free now: {free or 'nothing'})"
