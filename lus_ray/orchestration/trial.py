"""A Tune trial runs one cell: in its own process, or through Ray Train where it has workers.

Why both: a nested Train run costs ten seconds and more of start-up, a plain trial next to
nothing, and the loop is the same.
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
from lus_ray.runs import run_cell, sync
from lus_ray.runs.cell import Cell, Work


def trial(config: dict[str, Any], work: Work, shared: Transport, store: str) -> None:
    """Run the cell that the campaign suggests and report its validation scores."""
    cell = Cell(**config["cell"])
    _set_process_title(cell)
    arm = work.experiment.arm(cell.arm)
    device = "cuda" if torch.cuda.is_available() and config["gpu"] else "cpu"
    _limit_threads()
    pixels = pixels_of(shared, store)
    fit = None
    if arm.recipe is not None and arm.recipe.workers > 1:
        device = "cpu"  # the GPUs are those of the workers
        from lus_ray.orchestration.ray_train import fit_with_workers

        fit = fit_with_workers(cell, work, shared, store, gpus=config["gpu"])
    work = sync.here(work)
    try:
        with sync.carried(cell, work, partial(_report, cell)) as report:
            scores = _scores(cell, work, pixels, report, device=device, fit=fit)
    except LusError as error:
        _keep_error(cell, work, str(error))
        raise
    finally:
        _give_back()
    tune.report({"finished": 1, **{f"val_{k}": v for k, v in scores.items()}})


def _scores(cell: Cell, work: Work, *given: Any, **more: Any) -> dict[str, float]:
    """Run the cell; an error of its own is kept in its folder, so that it has failed for good.

    Where a process or a machine that it needs is gone, nothing is kept, and it runs again.
    """
    if not (work.out / "experiment.json").is_file():
        raise CellError(
            f"{work.out}: {socket.gethostname()} does not see the run folder; choose an --out that "
            "all machines see: a shared folder, or s3://bucket/folder"
        )
    try:
        return run_cell.run(cell, work, *given, **more)
    except (*LOST, WorkerLostError):
        raise
    except LusError as error:
        _keep_error(cell, work, str(error))
        raise
    except Exception:
        _keep_error(cell, work, traceback.format_exc())
        raise


def _set_process_title(cell: Cell) -> None:
    """Show the cell in `ps` and in Ray's dashboard.

    Why private: Tune reuses an actor for many cells, Ray keeps the name an actor was created with,
    and its reporter reads the title. Ray resets the title with every call, hence after each report.
    """
    set_process_title(f"ray::{cell.name}")


@lru_cache(maxsize=1)
def _limit_threads() -> None:
    """As many threads as Ray says: what was imported before it said so has one a CPU."""
    num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(num_threads)
    threadpool_limits(num_threads, user_api="blas")


def _give_back() -> None:
    """Freed memory to the system: each trial runs in a thread, and so from an arena, of its own."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _report(cell: Cell, values: dict[str, float]) -> None:
    tune.report({"finished": 0, **values})
    _set_process_title(cell)


def _keep_error(cell: Cell, work: Work, text: str) -> None:
    folder = cell.folder(work.out)
    with contextlib.suppress(OSError):  # a full disk is told of in the error itself
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(text.rstrip() + "\n")
