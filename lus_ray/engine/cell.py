"""A cell: one arm on one fold (and one search sample): its name, its folder, what it leaves behind.

A cell is finished when its prediction file exists; the file is renamed into place last. That is
the whole resume protocol.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.clip import Row
from lus_ray.experiment import Experiment
from lus_ray.files import write_text
from lus_ray.folds import Fold

Report = Callable[[dict[str, float]], None]


def slug(name: str) -> str:
    """An arm's name as a folder name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


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
    """What all cells of a campaign share: the run folder, folds, clip rows and their pixels."""

    experiment: Experiment
    size: str
    folds: tuple[Fold, ...]
    rows: Sequence[Row]
    fingerprint: str
    out: Path


class Log:
    """What a cell leaves behind beside its checkpoint: `metrics.jsonl`, `cost.json`.

    A cell that goes on after a kill keeps the lines of its first `num_epochs` epochs.
    """

    def __init__(self, folder: Path, report: Report, *, num_epochs: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.report = folder, report
        self.notes: tuple[str, ...] = ()
        path = folder / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True)[:num_epochs] if num_epochs else []
        write_text(path, "".join(lines))
        self.num_epochs = num_epochs
        if num_epochs:
            self.notes = (f"went on after {num_epochs} epochs of an earlier start",)
        (folder / "error.txt").unlink(missing_ok=True)

    def epoch(self, values: dict[str, float]) -> None:
        """Append one line and tell whoever watches."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")
        self.num_epochs += 1
        self.report(values)

    def write_cost(self, cost: dict[str, Any], scores: dict[str, float]) -> None:
        """Time, memory and trouble of the whole cell, and its validation scores."""
        finite = {name: value for name, value in scores.items() if np.isfinite(value)}
        notes = list(self.notes)
        whole = {**cost, "epochs": self.num_epochs, "val_scores": finite, "notes": notes}
        (self.folder / "cost.json").write_text(json.dumps(whole, indent=1) + "\n")


def cell_seed(seed: int, cell: Cell) -> int:
    """A seed of its own for every cell, equal on every machine."""
    digest = hashlib.sha256(f"{seed}:{cell.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
