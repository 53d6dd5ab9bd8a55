"""The files of a run that `lus watch` reads: the plan, and the files of each cell.

    metrics.jsonl   one line per epoch      cost.json    after training
    starts.json     one entry per start     error.txt    after a failure

Why reading a cell never raises: beside a live writer, lines are cut short and files disappear.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lus_ray.errors import StoreError
from lus_ray.monitoring.states import Point
from lus_ray.runs import json_files, layout, manifest
from lus_ray.runs.layout import COST, ERROR, METRICS, SAMPLE, STARTS, slug
from lus_ray.runs.manifest import ArmRecord

FILES = (METRICS, COST, STARTS, ERROR)
NUM_POINTS = 200
CURVES = {"val_score": "validation score", "train_loss": "training loss"}
"""Columns of an epoch that make a curve; the first one with values is shown."""

FileVersions = tuple[tuple[str, int, int], ...]
"""Name, modification time (ns) and size of files; equal as long as they are unchanged."""


@dataclass(frozen=True)
class PlannedArm:
    """An arm of the manifest; `planned` epochs, `kind` of task, `inputs` that finish before it."""

    name: str
    label: str | None
    baseline: bool
    kind: str
    planned: int | None
    num_samples: int
    inputs: tuple[str, ...]

    @property
    def folder(self) -> str:
        return slug(self.name)


@dataclass(frozen=True)
class PlannedRun:
    """Name and title of a run, its folds, its arms in the order of the table, its seeds."""

    experiment: str
    title: str
    size: str
    folds: tuple[int, ...]
    arms: tuple[PlannedArm, ...]
    seeds: int = 1


@dataclass(frozen=True)
class CellFiles:
    """What a cell has written so far; `touched` is its last write (unix seconds)."""

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
        return bool(self.starts or self.touched)

    @property
    def node(self) -> str | None:
        name = (self.starts[-1].get("node") if self.starts else None) or self.cost.get("node")
        return str(name) if name else None

    @property
    def since(self) -> float | None:
        """When its last start began (unix seconds)."""
        return finite_number(self.starts[-1].get("began")) if self.starts else None


def read_plan(out: Path) -> PlannedRun:
    """The plan of the run in a folder; StoreError if there is none or its manifest is damaged."""
    record = manifest.read(out)
    folds = json_files.read_json(out / layout.FOLDS)
    try:
        return PlannedRun(
            experiment=record.experiment,
            title=record.title or record.experiment,
            size=record.size or "",
            folds=tuple(sorted(int(fold["number"]) for fold in folds["folds"])),
            arms=tuple(_planned_arm(arm) for arm in record.arms),
            seeds=record.seeds or 1,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{out / layout.MANIFEST}: no manifest of a run ({type(error).__name__}: {error}); "
            "run the experiment again"
        ) from error


def stat_cell_files(folder: Path) -> tuple[FileVersions, tuple[str, ...]]:
    """The versions of a cell's files, and the folder names of its samples."""
    files, samples = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in FILES:
                    stat = entry.stat()
                    files.append((entry.name, stat.st_mtime_ns, stat.st_size))
                elif entry.name.startswith(SAMPLE):
                    samples.append(entry.name)
    except OSError:
        pass
    return tuple(sorted(files)), tuple(sorted(samples))


def read_cell_files(folder: Path, versions: FileVersions) -> CellFiles:
    times = {name: ns / 1e9 for name, ns, _ in versions}
    lines = json_files.parse_json_lines(_text(folder / METRICS)) if METRICS in times else []
    column, points = _points(lines)
    error = _text(folder / ERROR).strip() if ERROR in times else ""
    starts = _json(folder / STARTS, list) if STARTS in times else []
    cost = _json(folder / COST, dict) if COST in times else {}
    return CellFiles(
        num_epochs=len(lines),
        curve=thin_points(points),
        curve_of=CURVES[column],
        last_score=points[-1][1] if points and column == "val_score" else None,
        cost=cost,
        starts=tuple(start for start in starts if isinstance(start, dict)),
        error=error.splitlines()[-1] if error else None,
        failed_at=times.get(ERROR, 0.0),
        touched=max(times.values(), default=0.0),
    )


def thin_points(points: list[Point], most: int = NUM_POINTS) -> tuple[Point, ...]:
    """At most so many points, evenly spaced, with the first and the last."""
    if len(points) <= most:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[round(n * last / (most - 1))] for n in range(most))


def finite_number(value: Any) -> float | None:
    """The value as a float if it is a finite number, else None."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def _planned_arm(arm: ArmRecord) -> PlannedArm:
    epochs = (arm.recipe or {}).get("epochs")
    return PlannedArm(
        name=arm.name,
        label=arm.label,
        baseline=arm.baseline,
        kind=str((arm.task or {}).get("name", "")),
        planned=int(epochs) * max(1, arm.crossfit) if epochs else None,
        num_samples=arm.search.samples if arm.search else 0,
        inputs=arm.inputs,
    )


def _points(lines: list[dict[str, Any]]) -> tuple[str, list[Point]]:
    for column in CURVES:
        values = [(epoch, finite_number(line.get(column))) for epoch, line in enumerate(lines, 1)]
        if points := [(epoch, value) for epoch, value in values if value is not None]:
            return column, points
    return next(iter(CURVES)), []


def _json(path: Path, kind: type) -> Any:
    """The contents of a file, empty if they are not of this kind."""
    try:
        contents = json.loads(_text(path))
    except ValueError:
        return kind()
    return contents if isinstance(contents, kind) else kind()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
