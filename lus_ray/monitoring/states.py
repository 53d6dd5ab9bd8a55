"""The words of the watch: the state of a cell, of a campaign, and the grid of both."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["finished", "running", "waiting", "blocked", "failed", "interrupted"]
STATES: tuple[State, ...] = (
    "running", "failed", "interrupted", "blocked", "waiting", "finished",
)  # fmt: skip
MARKS: dict[State, str] = {
    "finished": "✓", "running": "▶", "waiting": "·", "blocked": "⊘", "failed": "✗",
    "interrupted": "‖",
}  # fmt: skip
"""A shape for each state, so that none is told by colour alone."""

Driven = Literal["running", "gone", "finished", "failed", "interrupted", "unknown"]
Point = tuple[int, float]
PASSING = ("now", "left_s", "elapsed_s")
"""Values of the grid that change with the clock alone."""


@dataclass(frozen=True)
class CellState:
    """One arm on one fold, as far as it is.

    `num_epochs` are those it has ended, of `planned` (None where it does not learn in epochs).
    `curve` are pairs of epoch, from 1, and a figure of it: the validation score, or the training
    loss where nothing is validated (`curve_of`). `score` is the validation score of its checkpoint
    once it is finished, that of the last epoch before. `since` is when its last start began (unix
    seconds), `seconds` what a finished one took. `samples` are those of its search that finished,
    of how many.
    """

    fold: int
    state: State
    num_epochs: int = 0
    planned: int | None = None
    score: float | None = None
    curve: tuple[Point, ...] = ()
    curve_of: str = "validation score"
    since: float | None = None
    seconds: float | None = None
    node: str | None = None
    num_starts: int = 0
    error: str | None = None
    samples: tuple[int, int] | None = None
    path: str = ""


@dataclass(frozen=True)
class ArmRow:
    """The cells of one arm, in the order of the folds."""

    name: str
    label: str | None
    baseline: bool
    cells: tuple[CellState, ...]


@dataclass(frozen=True)
class Campaign:
    """The driver of the run, as it last said: `gone` where it stopped without a word.

    Times are unix seconds; `ended` is when it ended or was last heard of. `dashboard` is the
    address of Ray's own page. `said` are its last lines, each with its time.
    """

    state: Driven = "unknown"
    process: int | None = None
    host: str | None = None
    dashboard: str | None = None
    began: float | None = None
    ended: float | None = None
    said: tuple[tuple[float, str], ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether cells may start."""
        return self.state == "running"


@dataclass(frozen=True)
class RunGrid:
    """A run: arms x folds, and the campaign. `left_s` are the seconds the rest may take."""

    experiment: str
    title: str
    size: str
    out: str
    folds: tuple[int, ...]
    arms: tuple[ArmRow, ...]
    campaign: Campaign
    now: float
    left_s: float | None = None
    has_report: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_cells(self) -> int:
        """Cells of the table."""
        return sum(self.counts.values())

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the begin of the last campaign to its end, or until now."""
        if self.campaign.began is None:
            return None
        return max(0.0, (self.campaign.ended or self.now) - self.campaign.began)

    def contents(self) -> dict[str, Any]:
        """The grid as JSON values; what the clock alone changes comes last, `PASSING`."""
        rows = [{**vars(row), "cells": [vars(cell) for cell in row.cells]} for row in self.arms]
        return {
            **{name: value for name, value in vars(self).items() if name not in PASSING},
            "arms": rows,
            "campaign": vars(self.campaign),
            "num_cells": self.num_cells,
            **{name: getattr(self, name) for name in PASSING},
        }
