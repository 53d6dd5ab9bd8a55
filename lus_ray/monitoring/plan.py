"""What a run set out to do: its arms and folds, from `experiment.json` and `folds.json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lus_ray.errors import StoreError
from lus_ray.runs import layout
from lus_ray.runs.layout import slug


@dataclass(frozen=True)
class PlannedArm:
    """An arm as the record tells it; `planned` epochs, None where it does not learn in epochs.

    `kind` is the name of its task, `inputs` are the arms that must be finished before it.
    """

    name: str
    label: str | None
    baseline: bool
    kind: str
    planned: int | None
    num_samples: int
    inputs: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The name of its folder below `cells` and `predictions`."""
        return slug(self.name)


@dataclass(frozen=True)
class RunPlan:
    """The run's name and title, its folds and its arms in the order of the table."""

    experiment: str
    title: str
    size: str
    folds: tuple[int, ...]
    arms: tuple[PlannedArm, ...]


def read(out: Path) -> RunPlan:
    """The plan of the run in a folder.

    Raises:
        StoreError: the folder holds no run, or its record is damaged.
    """
    record = layout.record(out)
    dealt = layout.read_json(out / layout.FOLDS)
    try:
        return RunPlan(
            experiment=str(record["experiment"]),
            title=str(record.get("title") or record["experiment"]),
            size=str(record.get("size", "")),
            folds=tuple(sorted(int(fold["number"]) for fold in dealt["folds"])),
            arms=tuple(_arm(arm) for arm in record["arms"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{out / 'experiment.json'}: no record of a run ({type(error).__name__}: {error}); "
            "run the experiment again"
        ) from error


def _arm(arm: dict[str, Any]) -> PlannedArm:
    recipe, search = arm.get("recipe") or {}, arm.get("search") or {}
    inputs = (arm.get("start"), arm.get("reads"), *(arm.get("members") or ()))
    epochs = recipe.get("epochs")
    return PlannedArm(
        name=str(arm["name"]),
        label=arm.get("label"),
        baseline=bool(arm.get("baseline")),
        kind=str((arm.get("task") or {}).get("name", "")),
        planned=int(epochs) * max(1, arm.get("crossfit") or 0) if epochs else None,
        num_samples=int(search.get("samples") or 0),
        inputs=tuple(name for name in inputs if name),
    )
