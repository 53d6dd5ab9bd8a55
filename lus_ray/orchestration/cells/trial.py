"""A Tune trial runs one cell: in its own process, or through Ray Train.

Why both: a nested Train run takes ten seconds and more to start, a plain trial next to nothing.
"""

from functools import partial
from typing import Any

import torch
from ray import tune

from lus_ray.data.loading.transport import Transport, pixels_of
from lus_ray.orchestration.cells import process
from lus_ray.orchestration.cluster.ray_private import set_process_title
from lus_ray.orchestration.planner import ResourcesByArm
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan


def trial(
    config: dict[str, Any], plan: RunPlan, shared: Transport, resources: ResourcesByArm
) -> None:
    """Run the cell that the scheduler suggested and report its validation scores."""
    cell = Cell(**config["cell"])
    set_process_title(f"ray::{cell.name}")  # for `ps`, and for Ray's dashboard
    wanted = resources[cell.arm]
    device = "cuda" if torch.cuda.is_available() and config["gpu"] else "cpu"
    process.limit_threads()
    process.keep_freed_memory()
    pixels = pixels_of(shared, str(plan.data))
    others: dict[str, Any] = {}
    if wanted.by_train:
        device = "cpu"  # the GPUs are those of the workers
        from lus_ray.orchestration.ray_train import RayTraining

        training = RayTraining(cell, plan, shared, wanted)
        others = {"fit": training.fit, "predict": training.predict}
    try:
        scores = process.run(
            cell, plan, pixels, partial(_report, cell), has_workers=wanted.by_train, device=device,
            **others,
        )  # fmt: skip
    finally:
        process.return_freed_memory()  # every trial runs in a new thread with its own arena
    tune.report({"finished": 1, **{f"val_{k}": v for k, v in scores.items()}})


def _report(cell: Cell, values: dict[str, float]) -> None:
    tune.report({"finished": 0, **values})
    set_process_title(f"ray::{cell.name}")  # which Ray resets with every call
