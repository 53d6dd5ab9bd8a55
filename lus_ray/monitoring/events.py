"""Observers of a campaign: the terminal, the run folder, a metrics server, or several at once."""

from typing import Any

from lus_ray.runs.cell import Cell


class Observer:
    """Receives the events of a campaign; every method does nothing unless overridden."""

    def on_start(self, cell: Cell) -> None:
        """A cell was handed out, perhaps again."""

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """A cell finished an epoch."""

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """A cell finished, or failed with an error."""

    def on_blocked(self, cell: Cell) -> None:
        """A cell cannot run, because one of its inputs failed."""

    def notify(self, text: str) -> None:
        """A message that belongs to no cell."""


class Observers(Observer):
    """Passes every event on to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def on_start(self, cell: Cell) -> None:
        self._pass_on("on_start", cell)

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        self._pass_on("on_report", cell, values)

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        self._pass_on("on_end", cell, error=error)

    def on_blocked(self, cell: Cell) -> None:
        self._pass_on("on_blocked", cell)

    def notify(self, text: str) -> None:
        self._pass_on("notify", text)

    def _pass_on(self, event: str, *values: Any, **options: Any) -> None:
        for observer in self.observers:
            getattr(observer, event)(*values, **options)
