"""Prometheus metrics of the cells, through the metrics port of every Ray node.

`ray_lus_cell_score`, `ray_lus_cell_epoch` and `ray_lus_cell_state` of each cell, `ray_lus_cells` by
state; Ray adds its own prefix. They end with the campaign's driver.
"""

import math
from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Gauge

from lus_ray.monitoring.events import Observer
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder

STATES = ("waiting", "running", "finished", "failed", "blocked")
"""The state of a cell is exported as its position."""
TAGS = ("experiment", "arm", "fold", "seed", "sample")
EXPORTED = {
    "lus_cell_score": ("Validation score of the last epoch.", TAGS),
    "lus_cell_epoch": ("Finished epochs.", TAGS),
    "lus_cell_state": (f"State: {', '.join(f'{n} {s}' for n, s in enumerate(STATES))}.", TAGS),
    "lus_cells": ("Cells by state.", ("experiment", "state")),
}
"""Description and tags of every metric."""


class CellGauges(Observer):
    """Sets gauges; create it while Ray is connected."""

    def __init__(self, experiment: str, folder: RunFolder, cells: Sequence[Cell]) -> None:
        self.experiment = experiment
        gauges = {name: Gauge(name, text, tag_keys=tags) for name, (text, tags) in EXPORTED.items()}
        self.score, self.epoch = gauges["lus_cell_score"], gauges["lus_cell_epoch"]
        self.state, self.cells = gauges["lus_cell_state"], gauges["lus_cells"]
        self.states = {
            (cell.arm, cell.fold, cell.seed): "finished"
            if folder.cell(cell).is_finished
            else "waiting"
            for cell in cells
        }
        for cell in cells:
            self._export_state(cell)
        self._count_states()

    def on_start(self, cell: Cell) -> None:
        self._set_state(cell, "running")

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        if "epoch" not in values:
            return
        tags = self._tags_of(cell)
        self.epoch.set(int(values["epoch"]) + 1, tags=tags)
        score = values.get("val_score")
        if score is not None and math.isfinite(score):
            self.score.set(float(score), tags=tags)

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        if cell.sample is None:  # a sample that ends leaves its cell running
            self._set_state(cell, "finished" if error is None else "failed")

    def on_blocked(self, cell: Cell) -> None:
        self._set_state(cell, "blocked")

    def _set_state(self, cell: Cell, state: str) -> None:
        self.states[cell.arm, cell.fold, cell.seed] = state
        self._export_state(cell)
        self._count_states()

    def _export_state(self, cell: Cell) -> None:
        state = self.states[cell.arm, cell.fold, cell.seed]
        self.state.set(STATES.index(state), tags=self._tags_of(cell) | {"sample": ""})

    def _tags_of(self, cell: Cell) -> dict[str, str]:
        return {
            "experiment": self.experiment,
            "arm": _to_ascii(cell.arm),
            "fold": str(cell.fold),
            "seed": str(cell.seed),
            "sample": "" if cell.sample is None else str(cell.sample),
        }

    def _count_states(self) -> None:
        every_state = list(self.states.values())
        for state in STATES:
            tags = {"experiment": self.experiment, "state": state}
            self.cells.set(every_state.count(state), tags=tags)


def _to_ascii(name: str) -> str:
    """Ray accepts no other tags: `a→b` becomes `a->b`, other letters are escaped."""
    return name.replace("→", "->").encode("ascii", "backslashreplace").decode()
