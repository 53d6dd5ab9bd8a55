"""What lies in the folder of one cell, read while it may be written.

    metrics.jsonl   one line an epoch      cost.json    once it is trained
    starts.json     one entry a start      error.txt    where it failed

Why nothing raises: a line cut short, a file that goes while it is opened, or one of an earlier
version is what a reader meets beside a live writer; what can be read is shown.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lus_ray.monitoring.states import Point
from lus_ray.runs.layout import lines as json_lines

FILES = ("metrics.jsonl", "cost.json", "starts.json", "error.txt")
NUM_POINTS = 200
CURVES = {"val_score": "validation score", "train_loss": "training loss"}
"""Figures of an epoch that make a curve: the first that the cell has, by its column."""

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class CellFiles:
    """What a cell left behind so far; `touched` is when it last did (unix seconds)."""

    num_epochs: int = 0
    curve: tuple[Point, ...] = ()
    curve_of: str = CURVES["val_score"]
    last_score: float | None = None
    cost: dict[str, Any] = field(default_factory=dict)
    starts: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    failed_at: float = 0.0
    touched: float = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether any start of it left something."""
        return bool(self.starts or self.touched)

    @property
    def node(self) -> str | None:
        """The machine of its last start."""
        last = self.starts[-1].get("node") if self.starts else None
        named = last or self.cost.get("node")
        return str(named) if named else None

    @property
    def since(self) -> float | None:
        """When its last start began."""
        return number(self.starts[-1].get("began")) if self.starts else None


def signature(folder: Path) -> tuple[Signature, tuple[str, ...]]:
    """Name, time and size of the files of a cell, and the names of the folders of its samples."""
    files, samples = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in FILES:
                    seen = entry.stat()
                    files.append((entry.name, seen.st_mtime_ns, seen.st_size))
                elif entry.name.startswith("sample"):
                    samples.append(entry.name)
    except OSError:
        pass
    return tuple(sorted(files)), tuple(sorted(samples))


def read(folder: Path, seen: Signature) -> CellFiles:
    """The traces in the folder of a cell, of whose files `seen` tells."""
    times = {name: ns / 1e9 for name, ns, _ in seen}
    lines = json_lines(_text(folder / "metrics.jsonl")) if "metrics.jsonl" in times else []
    column, points = _points(lines)
    error = _text(folder / "error.txt").strip() if "error.txt" in times else ""
    starts = _json(folder / "starts.json") if "starts.json" in times else []
    cost = _json(folder / "cost.json") if "cost.json" in times else {}
    return CellFiles(
        num_epochs=len(lines),
        curve=thin_points(points),
        curve_of=CURVES[column],
        last_score=points[-1][1] if points and column == "val_score" else None,
        cost=cost if isinstance(cost, dict) else {},
        starts=tuple(s for s in starts if isinstance(s, dict)) if isinstance(starts, list) else (),
        error=error.splitlines()[-1] if error else None,
        failed_at=times.get("error.txt", 0.0),
        touched=max(times.values(), default=0.0),
    )


def thin_points(points: list[Point], most: int = NUM_POINTS) -> tuple[Point, ...]:
    """At most so many points, evenly taken, with the first and the last."""
    if len(points) <= most:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[round(n * last / (most - 1))] for n in range(most))


def _points(lines: list[dict[str, Any]]) -> tuple[str, list[Point]]:
    for column in CURVES:
        figures = [(epoch, number(line.get(column))) for epoch, line in enumerate(lines, 1)]
        if points := [(epoch, figure) for epoch, figure in figures if figure is not None]:
            return column, points
    return next(iter(CURVES)), []


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
