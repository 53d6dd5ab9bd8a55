"""What a control found: the checks of each world, measured from the run folder of that world."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from lus_ray.control import Check, Closed, Difference, Measure, Measured, Score, Trained, World
from lus_ray.data import store
from lus_ray.evaluation import report_json, results
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.scored_arms import Arms
from lus_ray.predictor import Predictor
from lus_ray.storage.paths import PathOrUri


@dataclass(frozen=True)
class CheckResult:
    """A check with its value, a fraction of 1; None where it could not be measured."""

    text: str
    value: float | None
    least: float | None
    most: float | None
    passes: bool


@dataclass(frozen=True)
class WorldResult:
    """The checks of a world; `folder` is its run folder below that of the control."""

    name: str
    text: str
    folder: str
    num_patients: int
    checks: tuple[CheckResult, ...]

    @property
    def passes(self) -> bool:
        return all(check.passes for check in self.checks)


@dataclass(frozen=True)
class ControlResult:
    """The contents of control.json; `broken` names what was broken on purpose.

    `seconds` is how long the command took that finished it.
    """

    study: str
    claim: str
    seed: int
    broken: str | None
    worlds: tuple[WorldResult, ...]
    seconds: float

    @property
    def works(self) -> bool:
        return all(world.passes for world in self.worlds)

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        return tuple(check for world in self.worlds for check in world.checks)

    def to_json(self) -> str:
        contents = {"works": self.works, **asdict(self)}
        return TypeAdapter(dict).dump_json(contents, indent=1).decode() + "\n"


def check_world(world: World, folder: Path, data: PathOrUri) -> WorldResult:
    """The checks of a world from its finished run; StoreError if the folder is damaged."""
    run = results.read(folder)
    arms = report_json.score_all(run, num_draws=1)
    return WorldResult(
        name=world.name,
        text=world.text,
        folder=folder.name,
        num_patients=run.record.data.patients or 0,
        checks=tuple(_check(check, run, arms, data) for check in world.checks),
    )


def _check(check: Check, run: RunResults, arms: Arms, data: PathOrUri) -> CheckResult:
    value = measure(check.measure, run, arms, data)
    known = float(value) if np.isfinite(value) else None
    return CheckResult(check.text, known, check.least, check.most, check.passes(value))


def measure(kind: Measure, run: RunResults, arms: Arms, data: PathOrUri) -> float:
    """The value of a measure; NaN where a score or a cell is missing."""
    match kind:
        case Score(metric, arm):
            return arms[arm].mean(metric)
        case Difference(metric, better, than):
            return arms[better].mean(metric) - arms[than].mean(metric)
        case Closed(metric, arm, low, high):
            headroom = arms[high].mean(metric) - arms[low].mean(metric)
            gained = arms[arm].mean(metric) - arms[low].mean(metric)
            return gained / headroom if headroom > 0 else float("nan")
        case Measured(arm, by):
            values = [by(cell) for cell in _trained(arm, run, arms, data)]
            return float(np.mean(values)) if values else float("nan")


def _trained(arm: str, run: RunResults, arms: Arms, data: PathOrUri) -> Iterator[Trained]:
    index = store.read_index(data, ("clip", "patient"))
    for number, cell in arms[arm].cells.items():
        tested = pc.is_in(index["patient"], pa.array(run.folds[number].test))
        clips = tuple(store.read(data, index.filter(tested)["clip"].to_pylist()))
        yield Trained(arm, number, Predictor(cell.folder / "checkpoint"), clips)
