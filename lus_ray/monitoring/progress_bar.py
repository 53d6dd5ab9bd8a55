"""The live view of a campaign: a bar with the running cells on a terminal, lines elsewhere."""

import math
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lus_ray.monitoring.events import Observer
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.runs.cell import Cell

SHOWN = 3


class ProgressBar(Observer):
    """Shows cells as they start, report and end; a context manager.

    `num_epochs` are those of arms that train. Without a terminal, the running cells are printed
    while nothing else is.
    """

    def __init__(
        self, num_cells: int, num_finished: int, stream: TextIO | None = None, *,
        num_epochs: Mapping[str, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.stream = stream or sys.stderr
        self.num_cells, self.num_done, self.num_blocked = num_cells, num_finished, 0
        self.began: dict[Cell, float] = {}
        self.last_epoch: dict[Cell, str] = {}
        self.num_epochs, self.steps = num_epochs, dict[Cell, str]()
        self.log = PhaseLog(self._print, describe=self._list_running)
        self.console = Console(file=self.stream, highlight=False)
        self.is_live = self.console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} cells"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.is_live,
        )
        self.task = self.bar.add_task("cells", total=num_cells, completed=num_finished)

    def __enter__(self) -> "ProgressBar":
        self.bar.__enter__()
        if not self.is_live:  # a live bar moves by itself
            self.log.__enter__()
        if not self.is_live and self.num_done:
            self.notify(f"{self.num_done} of {self.num_cells} cells are already finished")
        return self

    def __exit__(self, *error: Any) -> None:
        self.log.stop()
        self.bar.__exit__(*error)
        if self.num_blocked:
            self.notify(f"{self.num_blocked} cells are blocked by an input that failed")

    def on_start(self, cell: Cell) -> None:
        self.began[cell] = time.monotonic()
        self._describe()

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        if "epoch" in values:
            score = values.get("val_score", math.nan)
            text = f"epoch {values['epoch']}"
            self.steps[cell] = self._name_epoch(cell, int(values["epoch"]) + 2)
            self.last_epoch[cell] = text if math.isnan(score) else f"{text} val {score:.3f}"
            self._describe()
        elif "predicted" in values:
            self.steps[cell] = f"predicts clip {values['predicted']} of {values['clips']}"

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        seconds = time.monotonic() - self.began.pop(cell, time.monotonic())
        last_epoch = self.last_epoch.pop(cell, "")
        self.steps.pop(cell, None)
        if cell.sample is None:
            self.num_done += 1
        if error is not None:
            self.notify(f"failed  {cell.name}: {error}")
        else:
            count = f"{self.num_done:>{len(str(self.num_cells))}}/{self.num_cells}"
            self.notify(f"{count}  {cell.name:<52} {seconds:6.1f} s  {last_epoch}")
        self.bar.update(self.task, completed=self.num_done)
        self._describe()

    def on_blocked(self, cell: Cell) -> None:
        self.num_blocked += 1

    def notify(self, text: str) -> None:
        if self.is_live:
            self.console.print(text, markup=False)
        else:
            self.log.notify(text.rstrip())

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _describe(self) -> None:
        running = ", ".join(
            f"{cell.name} {self.last_epoch.get(cell, '')}".strip() for cell in list(self.began)[:3]
        )
        self.bar.update(self.task, description=running[:90])

    def _list_running(self) -> str:
        """Such as "running 2 of 54 cells: e2e/fold0 epoch 4 of 10, 25 s; SVM/fold0, 2 s"."""
        began, now = list(self.began.items()), time.monotonic()
        cells = (f"{self._name_step(cell)}, {now - since:.0f} s" for cell, since in began[:SHOWN])
        more = f"; {len(began) - SHOWN} more" if len(began) > SHOWN else ""
        head = f"running {len(began)} of {self.num_cells} cells, {self.num_done} finished"
        return f"{head}: {'; '.join(cells)}{more}" if began else ""

    def _name_step(self, cell: Cell) -> str:
        return f"{cell.name} {self.steps.get(cell) or self._name_epoch(cell, 1)}".rstrip()

    def _name_epoch(self, cell: Cell, number: int) -> str:
        total = self.num_epochs.get(cell.arm, 0)
        return f"epoch {min(number, total)} of {total}" if total else ""
