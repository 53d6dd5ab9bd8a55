"""What a cell costs: wall, CPU and GPU seconds, and the peak of its memory."""

import contextlib
import json
import resource
import socket
import time
from pathlib import Path
from typing import Any

import torch


class Meter:
    """Starts when it is made; `stop` gives the cost since then.

    Peak memory is of the whole process (MiB), set back at the start where the system allows it.
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


def of_worker(rank: int) -> str:
    """The file in a cell's folder with the cost of one of its workers."""
    return f"cost-{rank}.json"


def with_workers(cost: dict[str, Any], folder: Path, num_workers: int) -> dict[str, Any]:
    """The cost of a cell with what its workers spent elsewhere, the highest peaks of any of them.

    The wall time is the cell's own: it waited for them.
    """
    spent = [json.loads((folder / of_worker(rank)).read_text()) for rank in range(num_workers)]
    summed = {name: round(sum(c[name] for c in (cost, *spent)), 3) for name in ("cpu_s", "gpu_s")}
    peaks = {
        name: max(c.get(name, 0.0) for c in (cost, *spent))
        for name in ("peak_mb", "peak_gpu_mb")
        if any(name in c for c in (cost, *spent))
    }
    return {**cost, **summed, **peaks}


def _peak_mb() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
