"""Figures of the cells for Prometheus, through the metrics port of every Ray node.

`ray_lus_cell_score` and `ray_lus_cell_epoch` of each cell that runs or ran in this campaign, and
`ray_lus_cells` by state; Ray sets its own name before ours. They end with the campaign's driver.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.util.metrics import Gauge

from lus_ray.runs.cell import Cell

STATES = ("waiting", "running", "finished", "failed", "blocked")
TAGS = ("experiment", "arm", "fold", "sample")


class CellGauges:
    """A `Observer` that sets gauges; to be made where Ray is connected."""

    def __init__(self, experiment: str, out: Path, cells: Sequence[Cell]) -> None:
        self.experiment = experiment
        self.score = Gauge("lus_cell_score", "Validation score of the last epoch.", tag_keys=TAGS)
        self.epoch = Gauge("lus_cell_epoch", "Epochs that ended.", tag_keys=TAGS)
        self.cells = Gauge("lus_cells", "Cells by state.", tag_keys=("experiment", "state"))
        self.states = {
            (cell.arm, cell.fold): "finished" if cell.finished(out) else "waiting" for cell in cells
        }
        self._count()

    def on_start(self, cell: Cell) -> None:
        """See `Observer`."""
        self._note(cell, "running")

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """See `Observer`."""
        if "epoch" not in values:
            return
        tags = {
            "experiment": self.experiment,
            "arm": _plain(cell.arm),
            "fold": str(cell.fold),
            "sample": "" if cell.sample is None else str(cell.sample),
        }
        self.epoch.set(int(values["epoch"]) + 1, tags=tags)
        score = values.get("val_score")
        if score is not None and math.isfinite(score):
            self.score.set(float(score), tags=tags)

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """See `Observer`; a sample that ends leaves its cell running."""
        if cell.sample is None:
            self._note(cell, "finished" if error is None else "failed")

    def on_blocked(self, cell: Cell) -> None:
        """See `Observer`."""
        self._note(cell, "blocked")

    def notify(self, text: str) -> None:
        """See `Observer`; a line is no figure."""

    def _note(self, cell: Cell, state: str) -> None:
        self.states[cell.arm, cell.fold] = state
        self._count()

    def _count(self) -> None:
        each = list(self.states.values())
        for state in STATES:
            tags = {"experiment": self.experiment, "state": state}
            self.cells.set(each.count(state), tags=tags)


def _plain(name: str) -> str:
    """A name in ASCII, as Ray takes no other tag: `a→b` is `a->b`, other letters are escaped."""
    return name.replace("→", "->").encode("ascii", "backslashreplace").decode()
