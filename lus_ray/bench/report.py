"""Results of benchmarks as a table and as JSON."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic_core import to_json

from lus_ray import __version__
from lus_ray.bench.measure import Result, Rival
from lus_ray.storage.child_process import count_cores

COLUMNS = (
    *("what", "against", "ours ms", "its ms", "ratio [95 %]", "target", ""),
    *("CPU s, ours / its", "threads", "repeats"),
)

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class BenchReport:
    """Results by benchmark and row, reasons of refused benchmarks; `date` in ISO form, UTC."""

    date: str
    measures: Mapping[str, Mapping[str, Result]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """A table with one line per rival, under the date and a line on the machine."""
        rows = [COLUMNS] + [
            _row(f"{name}, {what}", result, rival)
            for name, results in self.measures.items()
            for what, result in results.items()
            for rival in result.rivals or (None,)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        about = machine()
        first = f"{self.date}, " + ", ".join(f"{key} {value}" for key, value in about.items())
        return "\n".join([first, "", *lines]) + "\n"

    def contents(self) -> dict[str, Any]:
        """The same as plain JSON values; infinite numbers are null."""
        return {
            "date": self.date,
            "machine": machine(),
            "refused": dict(self.refused),
            "measures": json.loads(to_json(self.measures, inf_nan_mode="null")),
        }


def machine() -> dict[str, str | int | float]:
    """What a reader needs to compare figures: processor, cores, memory, load, versions."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": count_cores(),
        "memory GiB": round(psutil.virtual_memory().total / 2**30),
        "load": round(psutil.getloadavg()[0], 1),
        "GPUs": torch.cuda.device_count(),
        "lus_ray": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": version("ray"),
    }


def _row(what: str, ours: Result, rival: Rival | None) -> tuple[str, ...]:
    """One comparison; without a rival, our time against the milliseconds to stay below."""
    name, ratio, target, verdict = "", "", "", ""
    if rival is not None:
        low, high = _digits(rival.low), _digits(rival.high)
        name, ratio = rival.name, f"{_digits(rival.ratio)} [{low}, {high}]"
    if ours.target is not None:
        target = _digits(ours.target) + ("" if rival else " ms")
        is_reached = rival.ratio >= ours.target if rival else ours.wall_ms <= ours.target
        verdict = "won" if is_reached else "lost"
    sides: tuple[Result | Rival, ...] = (ours, rival) if rival else (ours,)
    cpu_s = " / ".join(f"{side.cpu_s:.4f}" for side in sides)
    wall = (_digits(ours.wall_ms), _digits(rival.wall_ms) if rival else "")
    end = (str(ours.threads), str(ours.repeats))
    return (what, name, *wall, ratio, target, verdict, cpu_s, *end)


def _digits(value: float) -> str:
    """Three digits or more, never an exponent; an infinite time is "never"."""
    if not math.isfinite(value):
        return "never"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
