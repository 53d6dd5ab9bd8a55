"""The live view of a campaign: a bar with the running cells on a terminal, lines elsewhere."""

import sys
import time
from collections import Counter
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lus_ray.runs.cell import Cell


class ProgressBar:
    """Shows cells as they start, report and end; a context manager."""

    def __init__(self, num_cells: int, num_finished: int, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.num_cells, self.num_done, self.num_blocked = num_cells, num_finished, 0
        self.began: dict[Cell, float] = {}
        self.last: dict[Cell, str] = {}
        self.by_arm: Counter[str] = Counter()
        self.console = Console(file=self.stream, highlight=False)
        self.live = self.console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} cells"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.live,
        )
        self.task = self.bar.add_task("cells", total=num_cells, completed=num_finished)

    def __enter__(self) -> "ProgressBar":
        self.bar.__enter__()
        if not self.live and self.num_done:
            self._line(f"{self.num_done} of {self.num_cells} cells are finished already")
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
        if self.num_blocked:
            self._line(f"{self.num_blocked} cells wait for an input that failed")

    def on_start(self, cell: Cell) -> None:
        """A cell was handed out."""
        self.began[cell] = time.monotonic()
        self._describe()

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """A cell ended an epoch."""
        if "epoch" in values:
            score = values.get("val_score")
            self.last[cell] = f"epoch {values['epoch']}" + (f" val {score:.3f}" if score else "")
            self._describe()

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """A cell is finished, or failed with an error."""
        seconds = time.monotonic() - self.began.pop(cell, time.monotonic())
        last = self.last.pop(cell, "")
        if cell.sample is None:
            self.num_done += 1
        if error is not None:
            self._line(f"failed  {cell.name}: {error}")
        else:
            place = f"{self.num_done:>{len(str(self.num_cells))}}/{self.num_cells}"
            self._line(f"{place}  {cell.name:<52} {seconds:6.1f} s  {last}")
        self.bar.update(self.task, completed=self.num_done)
        self._describe()

    def on_blocked(self, cell: Cell) -> None:
        """A cell cannot run, because an input of it failed."""
        self.num_blocked += 1

    def notify(self, text: str) -> None:
        """A line beside the cells."""
        self._line(text)

    def _line(self, text: str) -> None:
        if self.live:
            self.console.print(text, markup=False)
        else:
            print(text.rstrip(), file=self.stream, flush=True)

    def _describe(self) -> None:
        running = ", ".join(
            f"{c.name} {self.last.get(c, '')}".strip() for c in list(self.began)[:3]
        )
        self.bar.update(self.task, description=running[:90])
