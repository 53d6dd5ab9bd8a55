"""The status of a run: the states of cells and of its campaign, and the grid of both."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lus_ray.runs.cell import name_fold

State = Literal["finished", "running", "waiting", "blocked", "failed", "interrupted"]
STATES: tuple[State, ...] = (
    "running", "failed", "interrupted", "blocked", "waiting", "finished",
)  # fmt: skip
MARKS: dict[State, str] = {
    "finished": "✓", "running": "▶", "waiting": "·", "blocked": "⊘", "failed": "✗",
    "interrupted": "‖",
}  # fmt: skip
"""A shape for each state, so that none is shown by colour alone."""

CampaignPhase = Literal["running", "gone", "finished", "failed", "interrupted", "unknown"]
Point = tuple[int, float]
CLOCK_FIELDS = ("now", "left_s", "elapsed_s")
"""Values of the grid that change with the clock alone."""


@dataclass(frozen=True)
class CellState:
    """One arm on one fold with one training seed.

    `num_epochs` of `planned` are finished (None without epochs). `curve` has pairs of epoch, from
    1, and validation score, or training loss if nothing is validated (`curve_of`). `score` is the
    validation score of the checkpoint, before of the last epoch. `since` is the unix time of the
    last start, `seconds` the duration of a finished cell, `samples` finished and planned ones.
    """

    fold: int
    state: State
    seed: int = 0
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
    name: str
    label: str | None
    baseline: bool
    cells: tuple[CellState, ...]


@dataclass(frozen=True)
class Campaign:
    """The driver of a run; times are unix seconds, `ended` is when it ended or last wrote."""

    state: CampaignPhase = "unknown"
    process: int | None = None
    host: str | None = None
    dashboard: str | None = None
    began: float | None = None
    ended: float | None = None
    messages: tuple[tuple[float, str], ...] = ()

    @property
    def is_live(self) -> bool:
        return self.state == "running"


@dataclass(frozen=True)
class RunGrid:
    """A run as arms x folds, and its campaign; `left_s` is the estimated time to the end.

    The cells of an arm are those of all folds with the first of `seeds`, then with the next.
    """

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
    seeds: int = 1
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name_fold(fold, seed) for seed in range(self.seeds) for fold in self.folds)

    @property
    def num_cells(self) -> int:
        return sum(self.counts.values())

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the start of the last campaign to its end, or until now."""
        if self.campaign.began is None:
            return None
        return max(0.0, (self.campaign.ended or self.now) - self.campaign.began)

    def contents(self) -> dict[str, Any]:
        """JSON values; `CLOCK_FIELDS` come last."""
        values = vars(self) | {"num_cells": self.num_cells, "elapsed_s": self.elapsed_s}
        values["arms"] = [vars(row) | {"cells": list(map(vars, row.cells))} for row in self.arms]
        values["campaign"] = vars(self.campaign) | {"said": self.campaign.messages}
        del values["campaign"]["messages"]
        return values | {name: values.pop(name) for name in CLOCK_FIELDS}
