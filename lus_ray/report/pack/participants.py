"""Who the patients of a run are: counts and quartiles, from its prediction tables.

Arms that leak are not read: their splits are not those of the folds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.clip import Row
from lus_ray.folds import SPLITS
from lus_ray.runs import leakage, predictions
from lus_ray.runs.layout import CellFolder, RunFolder
from lus_ray.runs.manifest import RunRecord

OF_PATIENTS = ("sex", "age", "bmi", "site", "device", "source")
OF_CLIPS = ("probe", "zone")
AMOUNTS = ("age", "bmi")
TITLES = {
    "sex": "Sex", "age": "Age, years", "bmi": "Body mass index, kg/m²", "site": "Site",
    "device": "Device", "source": "Source", "probe": "Probe", "zone": "Zone",
}  # fmt: skip
MAX_VALUES = 12
"""Of more values than this, only their number is given."""


@dataclass(frozen=True)
class Characteristic:
    """Of patients or clips: counts by value, or the quartiles of an amount; `known` of `number`."""

    unit: str
    known: int
    number: int
    counts: Mapping[str, int] = field(default_factory=dict)
    quartiles: tuple[float, float, float] | None = None

    @property
    def text(self) -> str:
        if not self.known:
            return "not recorded"
        lacking = f"; not recorded for {self.number - self.known}"
        return f"{self._values()}{lacking if self.known < self.number else ''}"

    def _values(self) -> str:
        if self.quartiles is not None:
            low, median, high = self.quartiles
            return f"median {median:.4g} (quartiles {low:.4g} to {high:.4g})"
        if len(self.counts) > MAX_VALUES:
            return f"{len(self.counts)} different values"
        return ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))


@dataclass(frozen=True)
class Participants:
    """Characteristics by name: of everybody, and of each split of the first fold with a table."""

    everybody: Mapping[str, Characteristic]
    fold: int
    splits: Mapping[str, Mapping[str, Characteristic]]

    @property
    def recorded(self) -> list[str]:
        return [name for name, own in self.everybody.items() if own.known]


def read(record: RunRecord, run: Path) -> Participants | None:
    """The patients of every finished fold; None where no cell is finished."""
    clips_of: dict[int, dict[str, Row]] = {}
    for cell in _cells(record, run):
        known = clips_of.setdefault(cell.number, {})
        _, table = predictions.read(
            cell.predictions, ("clip", "patient", "split", *OF_PATIENTS, *OF_CLIPS)
        )
        known |= {row["clip"]: row for row in table.to_pylist()}
    if not clips_of:
        return None
    first, *_ = (list(clips_of[number].values()) for number in sorted(clips_of))
    everybody = {clip: row for clips in clips_of.values() for clip, row in clips.items()}
    return Participants(
        _characterize(everybody.values()),
        min(clips_of),
        {split: _characterize(row for row in first if row["split"] == split) for split in SPLITS},
    )


def _cells(record: RunRecord, run: Path) -> Iterable[CellFolder]:
    """The first finished cell of each fold and label."""
    leaky, found = leakage.leaks(record), set()
    for arm in record.arms:
        for cell in RunFolder(run).finished_cells(arm.name):
            if arm.name not in leaky and (cell.number, arm.label) not in found:
                found.add((cell.number, arm.label))
                yield cell


def _characterize(rows: Iterable[Row]) -> dict[str, Characteristic]:
    clips = list(rows)
    patients: dict[str, dict[str, Any]] = {}
    for row in clips:
        own = patients.setdefault(row["patient"], {})
        own |= {name: row[name] for name in OF_PATIENTS if row.get(name) is not None}
    return {
        **{name: _describe(name, "patients", list(patients.values())) for name in OF_PATIENTS},
        **{name: _describe(name, "clips", clips) for name in OF_CLIPS},
    }


def _describe(name: str, unit: str, rows: Sequence[Mapping[str, Any]]) -> Characteristic:
    values = [row[name] for row in rows if row.get(name) is not None]
    if name in AMOUNTS:
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist() if values else (0,) * 3
        quartiles = (low, median, high) if values else None
        return Characteristic(unit, len(values), len(rows), quartiles=quartiles)
    return Characteristic(unit, len(values), len(rows), dict(Counter(map(str, values))))
