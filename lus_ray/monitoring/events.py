"""Whoever watches a campaign: the terminal, the run folder, a metrics server, all of them."""

from typing import Any, Protocol, runtime_checkable

from lus_ray.runs.cell import Cell


@runtime_checkable
class Watcher(Protocol):
    """Whoever shows the progress of the cells."""

    def started(self, cell: Cell) -> None:
        """A cell was handed out, perhaps again."""

    def reported(self, cell: Cell, values: dict[str, Any]) -> None:
        """A cell ended an epoch."""

    def ended(self, cell: Cell, *, error: str | None) -> None:
        """A cell is finished, or failed with an error."""

    def blocked(self, cell: Cell) -> None:
        """A cell cannot run, because an input of it failed."""

    def say(self, text: str) -> None:
        """A line beside the cells."""


class Watchers:
    """Several watchers as one."""

    def __init__(self, *each: Watcher) -> None:
        self.each = each

    def started(self, cell: Cell) -> None:
        """See `Watcher`."""
        for watcher in self.each:
            watcher.started(cell)

    def reported(self, cell: Cell, values: dict[str, Any]) -> None:
        """See `Watcher`."""
        for watcher in self.each:
            watcher.reported(cell, values)

    def ended(self, cell: Cell, *, error: str | None) -> None:
        """See `Watcher`."""
        for watcher in self.each:
            watcher.ended(cell, error=error)

    def blocked(self, cell: Cell) -> None:
        """See `Watcher`."""
        for watcher in self.each:
            watcher.blocked(cell)

    def say(self, text: str) -> None:
        """See `Watcher`."""
        for watcher in self.each:
            watcher.say(text)
