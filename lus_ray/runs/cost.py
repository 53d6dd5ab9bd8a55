"""The cost of a cell: wall, CPU and GPU seconds, and its peak memory."""

import contextlib
import json
import resource
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from lus_ray.runs.json_files import check_types, read_json
from lus_ray.runs.layout import CellFolder


@dataclass(frozen=True)
class CellCost:
    """The types of values in `cost.json`, all of which may be absent."""

    wall_s: float | None = None
    cpu_s: float | None = None
    gpu_s: float | None = None
    peak_mb: float | None = None
    notes: list[str] | None = None


CELL_COST = TypeAdapter(CellCost)


class CostMeter:
    """Measures cost from its construction to `stop`.

    Peak memory (MiB) is that of the process, reset at the start where the system allows it.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Seconds, MiB and the node, as JSON values."""
        wall_s = time.perf_counter() - self.wall
        cost: dict[str, Any] = {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(time.process_time() - self.cpu, 3),
            "gpu_s": 0.0,
            "peak_mb": round(_peak_mb(), 1),
            "node": socket.gethostname(),
        }
        if self.device != "cpu":
            cost["gpu_s"] = round(wall_s, 3)
            cost["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return cost


def read(path: Path) -> dict[str, Any]:
    """The cost of a cell, empty without a file; StoreError if it is damaged."""
    contents = read_json(path) if path.exists() else {}
    remedy = "remove the predictions of the cell and run again"
    check_types(
        CELL_COST.validate_python, contents, path, expected="not the cost of a cell", remedy=remedy
    )
    return dict(contents)


def add_workers(cost: dict[str, Any], folder: CellFolder) -> dict[str, Any]:
    """The cost of a cell and its workers: seconds are added, peaks are the highest of any.

    The wall time is the cell's own, as it waited for them.
    """
    spent = [json.loads(path.read_text()) for path in folder.worker_costs()]
    summed = {name: round(sum(c[name] for c in (cost, *spent)), 3) for name in ("cpu_s", "gpu_s")}
    peaks = {
        name: max(c.get(name, 0.0) for c in (cost, *spent))
        for name in ("peak_mb", "peak_gpu_mb")
        if any(name in c for c in (cost, *spent))
    }
    return {**cost, **summed, **peaks}


def _peak_mb() -> float:
    with contextlib.suppress(OSError):
        # As bytes: the kernel cuts the name of a process, here that of an arm, within a letter.
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
