"""Results of benchmarks as a table and as JSON."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic_core import to_json

from lus_ray import __version__
from lus_ray.bench.measure import Baseline, Comparison
from lus_ray.storage.child_process import count_cores

COLUMNS = (
    *("what", "baseline", "ours ms", "baseline ms", "ratio [95 %]", "target", ""),
    *("CPU s, ours / baseline", "MiB, ours / baseline", "threads", "repeats"),
)


@dataclass(frozen=True)
class BenchReport:
    """Comparisons by benchmark and row, reasons of refused benchmarks; `date` in ISO form, UTC."""

    date: str
    measures: Mapping[str, Mapping[str, Comparison]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """A table with one line per baseline, under the date and the CPU count."""
        rows = [COLUMNS] + [
            _row(f"{name}, {what}", result, baseline)
            for name, results in self.measures.items()
            for what, result in results.items()
            for baseline in result.baselines or (None,)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.date}, {count_cores()} CPUs", "", *lines]) + "\n"

    def contents(self) -> dict[str, Any]:
        """The same as plain JSON values; infinite numbers are null."""
        return {
            "date": self.date,
            "machine": {"cpus": count_cores(), "architecture": platform.machine()},
            "versions": {
                "lus_ray": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "refused": dict(self.refused),
            "measures": json.loads(to_json(self.measures, inf_nan_mode="null")),
        }


def _row(what: str, ours: Comparison, baseline: Baseline | None) -> tuple[str, ...]:
    """One comparison; without a baseline, our time against the milliseconds to stay below."""
    name, ratio, target, verdict = "", "", "", ""
    if baseline is not None:
        low, high = _digits(baseline.low), _digits(baseline.high)
        name, ratio = baseline.name, f"{_digits(baseline.ratio)} [{low}, {high}]"
    if ours.target is not None:
        target = _digits(ours.target) + ("" if baseline else " ms")
        is_reached = baseline.ratio >= ours.target if baseline else ours.wall_ms <= ours.target
        verdict = "won" if is_reached else "lost"
    runs: tuple[Comparison | Baseline, ...] = (ours, baseline) if baseline else (ours,)
    cpu_s = " / ".join(f"{run.cpu_s:.4f}" for run in runs)
    peak_mb = " / ".join(f"{run.peak_mb:.0f}" for run in runs)
    wall = (_digits(ours.wall_ms), _digits(baseline.wall_ms) if baseline else "")
    end = (str(ours.threads), str(ours.repeats))
    return (what, name, *wall, ratio, target, verdict, cpu_s, peak_mb, *end)


def _digits(value: float) -> str:
    """Three digits or more, never an exponent; an infinite time is "never"."""
    if not math.isfinite(value):
        return "never"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
