"""Prometheus metrics of the cells, through the metrics port of every Ray node.

`ray_lus_cell_score`, `ray_lus_cell_epoch` and `ray_lus_cell_state` of each cell, `ray_lus_cells` by
state; Ray adds its own prefix. They end with the campaign's driver. Ray forgets values that are
not set again within two intervals of its reports (10 s each), so all are set every few seconds.
"""

import math
import threading
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


REFRESH_S = 5.0


class CellGauges(Observer):
    """Sets gauges, and sets them again until the block ends; create it while Ray is connected."""

    def __init__(self, experiment: str, folder: RunFolder, cells: Sequence[Cell]) -> None:
        self.experiment = experiment
        self.gauges = {n: Gauge(n, text, tag_keys=tags) for n, (text, tags) in EXPORTED.items()}
        self.values: dict[tuple[str, tuple[str, ...]], float] = {}
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._refresh, name="lus-metrics", daemon=True)
        self.states = {
            (cell.arm, cell.fold, cell.seed): "finished"
            if folder.cell(cell).is_finished
            else "waiting"
            for cell in cells
        }
        for cell in cells:
            self._export_state(cell)
        self._count_states()

    def __enter__(self) -> "CellGauges":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join()

    def on_start(self, cell: Cell) -> None:
        self._set_state(cell, "running")

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        if "epoch" not in values:
            return
        tags = self._tags_of(cell)
        self._set("lus_cell_epoch", int(values["epoch"]) + 1, tags)
        score = values.get("val_score")
        if score is not None and math.isfinite(score):
            self._set("lus_cell_score", float(score), tags)

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
        self._set("lus_cell_state", STATES.index(state), self._tags_of(cell) | {"sample": ""})

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
            self._set("lus_cells", every_state.count(state), tags)

    def _set(self, name: str, value: float, tags: dict[str, str]) -> None:
        with self.lock:
            self.values[name, tuple(tags[key] for key in EXPORTED[name][1])] = value
            self.gauges[name].set(value, tags=tags)

    def _refresh(self) -> None:
        while not self.stopped.wait(REFRESH_S):
            with self.lock:
                for (name, texts), value in self.values.items():
                    tags = dict(zip(EXPORTED[name][1], texts, strict=True))
                    self.gauges[name].set(value, tags=tags)


def _to_ascii(name: str) -> str:
    """Ray accepts no other tags: `a→b` becomes `a->b`, other letters are escaped."""
    return name.replace("→", "->").encode("ascii", "backslashreplace").decode()
