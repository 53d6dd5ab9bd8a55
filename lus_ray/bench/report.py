"""Results of benchmarks as a table and as JSON; the machine is its CPU count and architecture."""

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from lus_ray import __version__
from lus_ray.bench.measure import Baseline, Comparison

COLUMNS = (
    "what",
    "baseline",
    "ours ms",
    "baseline ms",
    "ratio [95 %]",
    "target",
    "",
    "CPU s, ours / baseline",
    "MiB, ours / baseline",
    "threads",
    "repeats",
)


@dataclass(frozen=True)
class BenchReport:
    """Comparisons by benchmark and by what was compared; `date` in ISO form, UTC.

    `refused` holds the reasons of benchmarks that have none.
    """

    date: str
    measures: Mapping[str, Mapping[str, Comparison]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """A table with one line a baseline, under the date and the CPU count."""
        rows = [COLUMNS, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        head = f"{self.date}, {_machine()['cpus']} CPUs"
        return "\n".join([head, "", *lines]) + "\n"

    def contents(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "date": self.date,
            "machine": _machine(),
            "versions": _versions(),
            "refused": dict(self.refused),
            "measures": {
                name: {what: _plain(asdict(result)) for what, result in results.items()}
                for name, results in self.measures.items()
            },
        }

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            _row(f"{name}, {what}", result, baseline)
            for name, results in self.measures.items()
            for what, result in results.items()
            for baseline in result.baselines or (None,)
        ]


def _row(what: str, ours: Comparison, baseline: Baseline | None) -> tuple[str, ...]:
    """One comparison; without a baseline, our time against the milliseconds to stay below."""
    target = "" if ours.target is None else _digits(ours.target)
    wall, end = _digits(ours.wall_ms), (str(ours.threads), str(ours.repeats))
    if baseline is None:
        verdict = "" if ours.target is None else _verdict(ours.wall_ms <= ours.target)
        cost = (f"{ours.cpu_s:.4f}", f"{ours.peak_mb:.0f}")
        return (what, "", wall, "", "", target and f"{target} ms", verdict, *cost, *end)
    return (
        what,
        baseline.name,
        wall,
        _digits(baseline.wall_ms),
        f"{_digits(baseline.ratio)} [{_digits(baseline.low)}, {_digits(baseline.high)}]",
        target,
        "" if ours.target is None else _verdict(baseline.ratio >= ours.target),
        f"{ours.cpu_s:.4f} / {baseline.cpu_s:.4f}",
        f"{ours.peak_mb:.0f} / {baseline.peak_mb:.0f}",
        *end,
    )


def _verdict(is_reached: bool) -> str:
    return "won" if is_reached else "lost"


def _digits(value: float) -> str:
    """Three digits or more, never an exponent; an infinite time is "never"."""
    if not math.isfinite(value):
        return "never"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """JSON values, in which infinite numbers are null."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _machine() -> dict[str, Any]:
    return {"cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine()}


def _versions() -> dict[str, str]:
    return {
        "lus_ray": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
