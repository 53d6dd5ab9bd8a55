"""A Tune trial runs one cell: in its own process, or through Ray Train.

Why both: a nested Train run takes ten seconds and more to start, a plain trial next to nothing.
"""

import contextlib
import ctypes
import os
import socket
import traceback
from functools import lru_cache, partial
from typing import Any

import torch
from ray import tune
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.loading.transport import Transport, pixels_of
from lus_ray.errors import CellError, LusError
from lus_ray.orchestration.cluster.ray_private import set_process_title
from lus_ray.orchestration.failures import LOST, WorkerLostError
from lus_ray.orchestration.planner import ResourcesByArm
from lus_ray.runs import run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder
from lus_ray.runs.plan import RunPlan


def trial(
    config: dict[str, Any], plan: RunPlan, shared: Transport, resources: ResourcesByArm
) -> None:
    """Run the cell that the scheduler suggested and report its validation scores."""
    cell = Cell(**config["cell"])
    set_process_title(f"ray::{cell.name}")  # for `ps`, and for Ray's dashboard
    wanted = resources[cell.arm]
    device = "cuda" if torch.cuda.is_available() and config["gpu"] else "cpu"
    _limit_threads()
    pixels = pixels_of(shared, str(plan.data))
    others: dict[str, Any] = {}
    if wanted.by_train:
        device = "cpu"  # the GPUs are those of the workers
        from lus_ray.orchestration.ray_train import RayTraining

        training = RayTraining(cell, plan, shared, wanted)
        others = {"fit": training.fit, "predict": training.predict}
    folder = plan.folder_of(cell)
    inputs = [plan.folder_of(earlier) for earlier in plan.inputs_of(cell)]
    report = partial(_report, cell)
    try:
        with folder.synced(report, inputs=inputs, has_workers=wanted.by_train) as callback:
            scores = _run(cell, plan, pixels, callback, device=device, **others)
    except LusError as error:
        _write_error(folder, str(error))
        raise
    finally:
        _trim_memory()
    tune.report({"finished": 1, **{f"val_{k}": v for k, v in scores.items()}})


def _run(cell: Cell, plan: RunPlan, *args: Any, **options: Any) -> dict[str, float]:
    """Run the cell and write its error, unless a process or machine that it needs is lost."""
    if not plan.folder.manifest.is_file():
        raise CellError(
            f"{plan.folder.path}: {socket.gethostname()} does not see the run folder; choose an "
            "--out that all machines see: a shared folder, or s3://bucket/folder"
        )
    try:
        return run_cell.run(cell, plan, *args, **options)
    except (*LOST, WorkerLostError):
        raise
    except Exception as error:
        text = str(error) if isinstance(error, LusError) else traceback.format_exc()
        _write_error(plan.folder_of(cell), text)
        raise


@lru_cache(maxsize=1)
def _limit_threads() -> None:
    """Use as many threads as Ray allows; libraries imported earlier use one per CPU."""
    num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(num_threads)
    threadpool_limits(num_threads, user_api="blas")


def _trim_memory() -> None:
    """Return freed memory to the system: every trial runs in a new thread with its own arena."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _report(cell: Cell, values: dict[str, float]) -> None:
    tune.report({"finished": 0, **values})
    set_process_title(f"ray::{cell.name}")  # which Ray resets with every call


def _write_error(folder: CellFolder, text: str) -> None:
    with contextlib.suppress(OSError):  # the error itself reports a full disk
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.error.write_text(text.rstrip() + "\n")
