"""The cells of a small run in processes forked from the command, without Ray.

Why: Ray and its first two processes take five seconds to start, which is most of a run of seconds.
A forked process has everything imported, and shares the resized frames.
"""

import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import shutil
import signal
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import psutil

from lus_ray.data.loading.batches import Pixels
from lus_ray.data.loading.resizing import load_frames
from lus_ray.monitoring.events import Observers
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.orchestration import early_checks
from lus_ray.orchestration.cells import process
from lus_ray.orchestration.cells.inputs import input_sizes
from lus_ray.orchestration.cells.stall_warnings import StallWarnings
from lus_ray.orchestration.scheduler import FINISHED, CellScheduler
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan
from lus_ray.storage.child_process import count_cores

MEMORY_PERCENT = 95.0
"""Of the machine's memory; beyond it the youngest process ends, as on a cluster."""
POLL_S = 0.5
DIE_WITH_PARENT, SET_NAME = 1, 15  # options of Linux's prctl


class _PrunedError(BaseException):
    """The search has pruned the sample; not an error of the cell."""


@dataclass
class _Worker:
    """A process that runs cells in turn, and the trial that it runs, if any."""

    process: ForkProcess
    connection: Connection
    trial_id: str = ""
    lost: str = ""
    status: str = "RUNNING"


def run_cells(plan: RunPlan, observers: Observers) -> Mapping[Cell, str]:
    """Run all unfinished cells, one a core at a time; the reasons of failed cells.

    Raises:
        PlanError: the disk of the run folder is full.
    """
    early_checks.refuse_full_disk(plan.folder.path, shutil.disk_usage(plan.folder.path).free)
    num_cores, num_cells = count_cores(), len(plan.unfinished_cells())
    with PhaseLog(observers.notify, f"resizing the frames of {len(plan.index)} clips ..."):
        pixels = load_frames(
            plan.data, plan.index, *input_sizes(plan.experiment), num_threads=num_cores
        )
    observers.notify(f"cells to run: {num_cells}, up to {num_cores} at a time")
    scheduler = CellScheduler(plan, observers, lambda cell: 0.0)
    with _interrupted_by_sigterm():
        _Workers(scheduler, pixels, num_cores).run()
    return scheduler.failed


class _Workers:
    """So many processes, forked when a cell is ready for them; lost ones are forked again."""

    def __init__(self, scheduler: CellScheduler, pixels: Pixels, most: int) -> None:
        self.scheduler, self.most = scheduler, most
        self.target = partial(_work, plan=scheduler.plan, pixels=pixels)
        self.workers: list[_Worker] = []
        self.numbers = count()
        self.warnings = StallWarnings(scheduler, lambda cell, holders: "its process to start")

    def run(self) -> None:
        """Run all cells; ends every process, also when interrupted."""
        try:
            while self._start_cells() != FINISHED:
                busy = {worker.connection: worker for worker in self.workers if worker.trial_id}
                for connection in wait([*busy], POLL_S):
                    self._receive(busy[connection])  # type: ignore[index]
                self.warnings.poll([*busy.values()])
                if psutil.virtual_memory().percent > MEMORY_PERCENT:
                    self._free_memory()
        finally:
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                worker.process.join()

    def _start_cells(self) -> Any:
        """Give ready cells to idle processes; what the scheduler suggests instead of a cell."""
        while sum(bool(worker.trial_id) for worker in self.workers) < self.most:
            config = self.scheduler.suggest(trial_id := f"{next(self.numbers):05}")
            if not isinstance(config, dict):
                return config
            idle = next((worker for worker in self.workers if not worker.trial_id), None)
            worker = idle or self._fork()
            worker.trial_id = trial_id
            with contextlib.suppress(OSError):  # it is lost, which the next wait notices
                worker.connection.send_bytes(json.dumps(config["cell"]).encode())
        return None

    def _fork(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        forked = ForkProcess(target=self.target, args=(theirs, os.getpid()), daemon=True)
        with theirs:
            forked.start()
        self.workers.append(worker := _Worker(forked, ours))
        return worker

    def _receive(self, worker: _Worker) -> None:
        try:
            message: dict[str, Any] = json.loads(worker.connection.recv_bytes())
        except (EOFError, OSError):  # it was killed
            worker.process.join()
            self.workers.remove(worker)
            message = {"ended": True, "error": worker.lost}
        trial_id, cells = worker.trial_id, self.scheduler
        if message.pop("ended", False):
            worker.trial_id = ""
            cells.process_errors[trial_id] = message["error"]
            cells.on_trial_complete(trial_id)
            return
        cells.on_trial_result(trial_id, message)
        is_pruned = cells.should_prune(trial_id, message)
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(b"prune" if is_pruned else b"go on")

    def _free_memory(self) -> None:
        """Kill the process that started its cell last, unless one is being killed."""
        busy = [worker for worker in self.workers if worker.trial_id]
        if busy and not any(worker.lost for worker in busy):
            youngest = max(busy, key=lambda worker: worker.trial_id)
            youngest.lost = "OutOfMemoryError"
            youngest.process.kill()


def _work(connection: Connection, parent: int, *, plan: RunPlan, pixels: Pixels) -> None:
    """Run the cells that come over the connection, until it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with open(os.devnull, "w") as nowhere:  # errors are in the folder of the cell
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    process.limit_threads()
    process.keep_freed_memory()
    gc.freeze()  # garbage collection would copy the pages of all objects that are shared
    while True:
        values = json.loads(connection.recv_bytes())
        cell = Cell(**values | {"settings": tuple(map(tuple, values["settings"]))})
        libc.prctl(SET_NAME, cell.name.encode(), 0, 0, 0)  # for `ps` and `top`, which cut it
        error = ""
        try:
            process.run(cell, plan, pixels, partial(_report, connection))
        except _PrunedError:
            pass
        except Exception:
            error = traceback.format_exc()
        connection.send_bytes(json.dumps({"ended": True, "error": error}).encode())


def _report(connection: Connection, values: dict[str, float]) -> None:
    connection.send_bytes(json.dumps(values).encode())
    if connection.recv_bytes() == b"prune":
        raise _PrunedError


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C does, in the main thread."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # another thread leaves signals to the main one
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
