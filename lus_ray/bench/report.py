"""What a bench found: a table to read and a dict to keep.

Neither names the machine: its class is the number of its CPUs and their architecture.
"""

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from lus_ray import __version__
from lus_ray.bench.measure import Measured, Rival

COLUMNS = (
    "what",
    "rival",
    "ours ms",
    "rival ms",
    "ratio [95 %]",
    "target",
    "",
    "CPU s, ours / rival",
    "MiB, ours / rival",
    "threads",
    "repeats",
)


@dataclass(frozen=True)
class Report:
    """Comparisons by measure and by what was compared; `date` in ISO form, UTC.

    `refused` says why a measure has none.
    """

    date: str
    measures: Mapping[str, Mapping[str, Measured]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """A table with one line a rival, under a line that says on what it ran."""
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
                name: {what: _plain(asdict(measured)) for what, measured in found.items()}
                for name, found in self.measures.items()
            },
        }

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            _row(f"{name}, {what}", measured, rival)
            for name, found in self.measures.items()
            for what, measured in found.items()
            for rival in measured.rivals or (None,)
        ]


def _row(what: str, ours: Measured, rival: Rival | None) -> tuple[str, ...]:
    """One comparison; without a rival, our time against the milliseconds to stay below."""
    target = "" if ours.target is None else _digits(ours.target)
    end = (str(ours.threads), str(ours.repeats))
    if rival is None:
        verdict = "" if ours.target is None else _verdict(ours.wall_ms <= ours.target)
        own = (f"{ours.cpu_s:.4f}", f"{ours.peak_mb:.0f}")
        return (
            what,
            "",
            _digits(ours.wall_ms),
            "",
            "",
            target and f"{target} ms",
            verdict,
            *own,
            *end,
        )
    return (
        what,
        rival.name,
        _digits(ours.wall_ms),
        _digits(rival.wall_ms),
        f"{_digits(rival.ratio)} [{_digits(rival.low)}, {_digits(rival.high)}]",
        target,
        "" if ours.target is None else _verdict(rival.ratio >= ours.target),
        f"{ours.cpu_s:.4f} / {rival.cpu_s:.4f}",
        f"{ours.peak_mb:.0f} / {rival.peak_mb:.0f}",
        *end,
    )


def _verdict(won: bool) -> str:
    return "won" if won else "lost"


def _digits(value: float) -> str:
    """Three digits or more, never an exponent; a time that never came is no number."""
    if not math.isfinite(value):
        return "never"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """JSON values, in which a number that is not finite is null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _machine() -> dict[str, Any]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
    }


def _versions() -> dict[str, str]:
    return {
        "lus_ray": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
