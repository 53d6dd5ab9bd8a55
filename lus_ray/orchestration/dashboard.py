"""What Ray's dashboard shows of a campaign: names of actors and groups, and of the job."""

from collections.abc import Callable
from typing import Any

from ray.tune.trainable import wrap_function

from lus_ray.experiment import Experiment
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan

MAX_METADATA = 1000
SHARED = "cells without training"
"""The actors that run these in turn; `ps` and the dashboard's list of processes name each cell."""


def describe_job(plan: RunPlan) -> dict[str, str]:
    """What the dashboard says of the job; values are text."""
    cells = plan.unfinished_cells()
    arms = ", ".join(dict.fromkeys(cell.arm for cell in cells))
    folds = ", ".join(map(str, sorted({cell.fold for cell in cells})))
    return {
        "lus_study": plan.experiment.name, "lus_size": plan.size,
        "lus_run": str(plan.folder.display_name), "lus_cells": str(len(cells)),
        "lus_arms": arms[:MAX_METADATA], "lus_folds": folds,
    }  # fmt: skip


class ActorNames:
    """Names on the dashboard of the actors and placement groups of cells.

    Where actors are reused, those that train are not: a name is for life, and Tune reuses an actor
    for equal placement groups alone, of which the name is a part.
    """

    def __init__(self, experiment: Experiment, *, reuse: bool) -> None:
        arms = [arm for arm in experiment.arms if not reuse or (arm.recipe and arm.recipe.epochs)]
        self.own = {arm.name for arm in arms}

    def __call__(self, config: dict[str, Any]) -> str:
        cell, attempt = Cell(**config["cell"]), config["attempt"]
        if cell.arm not in self.own:
            return SHARED
        return f"{cell.name} retry {attempt}" if attempt else cell.name

    def group(self, config: dict[str, Any]) -> dict[str, str]:
        """Of its placement group, which Ray wants to be unique."""
        name = self(config)
        return {} if name == SHARED else {"name": name}


def name_actors(run_trial: Callable[..., None], name_of: Callable[[dict[str, Any]], str]) -> type:
    """A class for Tune whose actors bear the names of their configs on Ray's dashboard.

    Ray reads the name once, when an actor starts: one that changes cells keeps its first.
    """

    class CellActor(wrap_function(run_trial)):  # type: ignore[misc]
        __qualname__ = "CellActor"

        def __repr__(self) -> str:
            return name_of(self.config)

    return CellActor
