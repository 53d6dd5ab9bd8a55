"""`lus bench`: speed as ratios against reference implementations, measured in turn.

A benchmark is a module here with `compare(**sizes)`, which yields its rows: a name, and a
`Comparison` that is measured before the next is made, or a `Result` where it has a clock of its
own. Most run on one thread: what one process of several has.
"""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lus_ray.bench.measure import Comparison, Result
from lus_ray.bench.report import BenchReport
from lus_ray.errors import InputError, LusError
from lus_ray.suggestions import suggest

__all__ = ["QUICK", "BenchReport", "measure", "run"]

REPEATS, QUICK_REPEATS = 7, 2
QUICK: Mapping[str, Mapping[str, Any]] = {
    "reads": {"num_clips": 8, "num_held": 4},
    "clips": {"num_clips": 4, "num_many": 1000, "num_shares": 2},
    "augment": {},
    "train": {"num_steps": 4},
    "gpu": {"num_steps": 5},
    "cells": {"num_draws": 80, "networks": ("cnn",)},
    "search": {"num_seeds": 1, "num_samples": 4, "num_epochs": 2},
    "experts": {"num_patients": 16, "kinds": ("DT", "NN")},
    "uninorm": {"num_frames": 100},
    "mcdropout": {"num_samples": 10},
    "serve": {"turns": 2, "clients": (2, 8), "num_alone": 10, "variants": ("one process",)},
    "demo": {"demo": False},
}
"""Sizes of `lus bench --quick` by module of this package, in the order of the table."""


def run(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> BenchReport:
    """Run the named benchmarks, or all; one whose rivals do other work gives a reason.

    Raises:
        InputError: a name is not in `QUICK`.
    """
    for name in names:
        if name not in QUICK:
            raise InputError(f"no benchmark {name!r}{suggest(name, QUICK)}")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    results, refused = {}, {}
    for name in names or QUICK:
        began, sizes = time.monotonic(), QUICK[name] if quick else {}
        try:
            results[name] = measure(name, QUICK_REPEATS if quick else REPEATS, **sizes)
        except LusError as error:  # the other benchmarks go on
            refused[name] = str(error)
        took = f"{name} took {time.monotonic() - began:.0f} s"
        notify(took if name in refused or results[name] else f"{name}: this machine has no GPU")
    return BenchReport(date, results, refused)


def measure(name: str, repeats: int, **sizes: Any) -> dict[str, Result]:
    """The rows of one benchmark; none where it needs a GPU and there is none.

    Raises:
        LusError: a rival does other work than ours.
    """
    rows = importlib.import_module(f"lus_ray.bench.{name}").compare(**sizes)
    return {
        what: row.measure(repeats) if isinstance(row, Comparison) else row for what, row in rows
    }
