"""`lus bench`: speed as ratios against reference implementations, measured in turn.

A benchmark is a module here with `measure(repeats) -> {row: Comparison}`; its other parameters are
sizes. It first checks that ours and each baseline compute the same, and else raises LusError. Most
run on one thread: what one process of several has.
"""

import importlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lus_ray.bench.report import BenchReport
from lus_ray.errors import InputError, LusError
from lus_ray.suggestions import suggest

__all__ = ["MEASURES", "BenchReport", "run"]

MEASURES = (
    "reads",
    "clips",
    "augment",
    "train",
    "gpu",
    "cells",
    "search",
    "experts",
    "uninorm",
    "mcdropout",
    "serve",
    "demo",
)
"""Modules of this package, in the order of the table."""


def run(
    names: Sequence[str] = (), *, notify: Callable[[str], None] = lambda line: None
) -> BenchReport:
    """Run the named benchmarks, or all; one whose baselines do other work gives a reason.

    Raises:
        InputError: a name is not in `MEASURES`.
    """
    for name in names:
        if name not in MEASURES:
            raise InputError(f"no benchmark {name!r}{suggest(name, MEASURES)}")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    results, refused = {}, {}
    for name in names or MEASURES:
        notify(f"measuring {name}")
        try:
            results[name] = importlib.import_module(f"lus_ray.bench.{name}").measure()
        except LusError as error:  # the other benchmarks go on
            refused[name] = str(error)
            continue
        if not results[name]:
            notify("skipped: this machine has no GPU")
    return BenchReport(date, results, refused)
