"""Warnings of cells that wait for resources and of running cells that report nothing."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.runs.cell import Cell

SILENT_S = 60
POLL_S = 1
"""Tune calls many times a second, with every trial that ever existed."""


class StallWarnings:
    """Warns after one minute, and again after two, four and so on.

    `explain_wait` gives the reason why a cell waits, from the names of cells that run.
    """

    def __init__(
        self, scheduler: CellScheduler, explain_wait: Callable[[Cell, Sequence[str]], str]
    ) -> None:
        self.scheduler, self.explain_wait = scheduler, explain_wait
        self.pending_since: dict[str, float] = {}
        self.next_warning_s: dict[str, float] = {}
        self.last_poll = 0.0

    def poll(self, trials: Sequence[Any]) -> None:
        """Check every cell that was handed out; call it often, also while nothing happens.

        Of trials, `trial_id` and `status` are read, as Tune names them.
        """
        now = time.monotonic()
        if now - self.last_poll < POLL_S:
            return
        self.last_poll = now
        for trial in trials:
            trial_id = trial.trial_id
            cell = self.scheduler.running.get(trial_id)
            if cell is None:
                self.pending_since.pop(trial_id, None)
                self.next_warning_s.pop(trial_id, None)
            elif trial.status == "PENDING":
                since = self.pending_since.setdefault(trial_id, now)
                self._warn(trial_id, now - since, partial(self._describe_wait, cell, now - since))
            else:
                if self.pending_since.pop(trial_id, None) is not None:
                    self.next_warning_s.pop(trial_id, None)
                    self.scheduler.last_report[trial_id] = now
                silent_s = now - self.scheduler.last_report.get(trial_id, now)
                if silent_s < SILENT_S:
                    self.next_warning_s.pop(trial_id, None)
                text = f"{cell.name} is running; no progress for {silent_s:.0f} s"
                self._warn(trial_id, silent_s, partial(str, text))

    def _warn(self, trial_id: str, seconds: float, text: Callable[[], str]) -> None:
        due_s = self.next_warning_s.get(trial_id, SILENT_S)
        if seconds >= due_s:
            self.next_warning_s[trial_id] = 2 * due_s
            self.scheduler.observer.notify(text())

    def _describe_wait(self, cell: Cell, seconds: float) -> str:
        running = self.scheduler.running.items()
        holders = [holder.name for id_, holder in running if id_ not in self.pending_since]
        reason = self.explain_wait(cell, holders)
        return f"{cell.name} has waited {seconds:.0f} s for {reason}"
