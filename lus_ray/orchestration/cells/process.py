"""One cell in this process, with the threads of a cell and its error in the run folder."""

import contextlib
import ctypes
import os
import socket
import traceback
from functools import lru_cache
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.loading.batches import Pixels
from lus_ray.errors import CellError, LusError
from lus_ray.orchestration.failures import lost_errors
from lus_ray.runs import run_cell
from lus_ray.runs.cell import Cell, EpochCallback
from lus_ray.runs.layout import CellFolder
from lus_ray.runs.plan import RunPlan

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt
KEPT_BYTES = (1 << 31) - 1


def run(
    cell: Cell, plan: RunPlan, pixels: Pixels, report: EpochCallback, *, has_workers: bool = False,
    **options: Any,
) -> dict[str, float]:  # fmt: skip
    """Run a cell with its inputs and results synced; returns its validation scores.

    Writes the error of a cell into its folder before raising it.
    """
    folder = plan.folder_of(cell)
    inputs = [plan.folder_of(earlier) for earlier in plan.inputs_of(cell)]
    try:
        with folder.synced(report, inputs=inputs, has_workers=has_workers) as callback:
            return _run(cell, plan, pixels, callback, **options)
    except LusError as error:
        _write_error(folder, str(error))
        raise


@lru_cache(maxsize=1)
def limit_threads() -> None:
    """Use as many threads as Ray allows, one by default, in every library, imported or not.

    In a forked process, OpenMP would wait for threads that only its parent has.
    """
    num_threads = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(num_threads)
    threadpool_limits(num_threads)


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step, up to 2 GB a piece.

    Otherwise it gives it back, and every step faults it in anew, which takes 6 to 14 % of the CPU
    time of small cells. In return their peak of memory is 30 to 400 MB higher.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def return_freed_memory() -> None:
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _run(cell: Cell, plan: RunPlan, *args: Any, **options: Any) -> dict[str, float]:
    """Run the cell and write its error, unless a process or machine that it needs is lost."""
    if not plan.folder.manifest.is_file():
        raise CellError(
            f"{plan.folder.path}: {socket.gethostname()} does not see the run folder; choose an "
            "--out that all machines see: a shared folder, or s3://bucket/folder"
        )
    try:
        return run_cell.run(cell, plan, *args, **options)
    except lost_errors():
        raise
    except Exception as error:
        text = str(error) if isinstance(error, LusError) else traceback.format_exc()
        _write_error(plan.folder_of(cell), text)
        raise


def _write_error(folder: CellFolder, text: str) -> None:
    with contextlib.suppress(OSError):  # the error itself reports a full disk
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.error.write_text(text.rstrip() + "\n")
