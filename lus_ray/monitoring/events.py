"""Whoever watches a campaign: the terminal, the run folder, a metrics server, all of them."""

from typing import Any, Protocol, runtime_checkable

from lus_ray.runs.cell import Cell


@runtime_checkable
class Observer(Protocol):
    """Whoever shows the progress of the cells."""

    def on_start(self, cell: Cell) -> None:
        """A cell was handed out, perhaps again."""

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """A cell ended an epoch."""

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """A cell is finished, or failed with an error."""

    def on_blocked(self, cell: Cell) -> None:
        """A cell cannot run, because an input of it failed."""

    def notify(self, text: str) -> None:
        """A line beside the cells."""


class Observers:
    """Several observers as one."""

    def __init__(self, *each: Observer) -> None:
        self.each = each

    def on_start(self, cell: Cell) -> None:
        """See `Observer`."""
        for observer in self.each:
            observer.on_start(cell)

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """See `Observer`."""
        for observer in self.each:
            observer.on_report(cell, values)

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """See `Observer`."""
        for observer in self.each:
            observer.on_end(cell, error=error)

    def on_blocked(self, cell: Cell) -> None:
        """See `Observer`."""
        for observer in self.each:
            observer.on_blocked(cell)

    def notify(self, text: str) -> None:
        """See `Observer`."""
        for observer in self.each:
            observer.notify(text)
