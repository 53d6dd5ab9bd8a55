"""A cell: one arm on one fold (and one search sample): its name, its folder, what it leaves behind.

A cell is finished when its prediction file exists; the file is renamed into place last. That is
the whole resume protocol.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.clip import Row
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.runs.layout import slug
from lus_ray.storage.files import write_text
from lus_ray.storage.mirror import Home

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Cell:
    """One arm on one fold; `sample` and `settings` where a search draws its hyperparameters."""

    arm: str
    fold: int
    sample: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """`<arm>/fold<k>[/<sample>]`, as the dashboard shows it."""
        return f"{self.arm}/fold{self.fold}" + ("" if self.sample is None else f"/{self.sample}")

    def folder(self, out: Path) -> Path:
        """Where checkpoint, metrics and cost lie."""
        folder = out / "cells" / slug(self.arm) / f"fold{self.fold}"
        return folder if self.sample is None else folder / f"sample{self.sample}"

    def predictions(self, out: Path) -> Path:
        """The file whose existence says that the cell is finished."""
        folder = out / "predictions" / slug(self.arm)
        if self.sample is None:
            return folder / f"fold{self.fold}.parquet"
        return folder / "samples" / f"fold{self.fold}-{self.sample}.parquet"

    def finished(self, out: Path) -> bool:
        """Whether the cell never has to run again."""
        return self.predictions(out).exists()


@dataclass(frozen=True)
class Work:
    """What all cells of a campaign share: the run folder, folds, clip rows and their pixels.

    With a `home`, the run lies on object storage and `out` is this machine's copy of it.
    """

    experiment: Experiment
    size: str
    folds: tuple[Fold, ...]
    rows: Sequence[Row]
    fingerprint: str
    out: Path
    home: Home | None = None


class Log:
    """What a cell leaves behind beside its checkpoint: `metrics.jsonl`, `cost.json`, `starts.json`.

    The first epoch that it hears of tells from where a cell goes on after a kill: lines of an
    earlier start from there on are dropped, those before are kept. A worker that only tells of
    epochs begins no cell.
    """

    def __init__(self, folder: Path, report: Report, *, begins: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.report = folder, report
        self.notes: tuple[str, ...] = ()
        self.path = folder / "metrics.jsonl"
        self.path.touch()
        self.earlier = self.path.read_text()
        self.num_earlier, self.num_epochs = len(self.earlier.splitlines()), 0
        if begins:
            (folder / "error.txt").unlink(missing_ok=True)
            _note_start(folder / "starts.json")

    def epoch(self, values: dict[str, float]) -> None:
        """Append one line and tell whoever watches."""
        if not self.num_epochs:
            self._keep(int(values["epoch"]))
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
        self.num_epochs += 1
        self.report(values)

    def _keep(self, num_lines: int) -> None:
        lines = self.path.read_text().splitlines(keepends=True)[:num_lines]
        write_text(self.path, "".join(lines))
        self.num_earlier = len(lines)

    def write_cost(self, cost: dict[str, Any], scores: dict[str, float]) -> None:
        """Time, memory and trouble of the whole cell, and its validation scores."""
        finite = {name: value for name, value in scores.items() if np.isfinite(value)}
        notes = [*self.went_on(), *self.notes]
        num_epochs = len(self.path.read_text().splitlines())
        whole = {**cost, "epochs": num_epochs, "val_scores": finite, "notes": notes}
        (self.folder / "cost.json").write_text(json.dumps(whole, indent=1) + "\n")

    def went_on(self) -> list[str]:
        """A note, where an earlier start had done epochs; where workers went on, they have it."""
        others = not self.num_epochs and self.path.read_text() != self.earlier
        if others or not self.num_earlier:
            return []
        return [f"went on after {self.num_earlier} epochs of an earlier start"]


def _note_start(path: Path) -> None:
    """Append where and when the cell starts; what an earlier start wrote halfway is dropped."""
    try:
        starts = json.loads(path.read_text())
    except (OSError, ValueError):
        starts = []
    starts.append({"node": socket.gethostname(), "pid": os.getpid(), "began": time.time()})
    write_text(path, json.dumps(starts) + "\n")


def cell_seed(seed: int, cell: Cell) -> int:
    """A seed of its own for every cell, equal on every machine."""
    digest = hashlib.sha256(f"{seed}:{cell.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
