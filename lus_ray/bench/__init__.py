"""`lus bench`: ratios against the best honest rival, measured in turn.

A measure is a module here with `measure() -> {what is compared: Measured}`; it first checks that
ours and each rival compute the same.
"""

import importlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lus_ray.bench.report import Report
from lus_ray.errors import InputError, LusError

__all__ = ["MEASURES", "Report", "run"]

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


def run(names: Sequence[str] = (), *, say: Callable[[str], None] = lambda line: None) -> Report:
    """Measure what is named, or everything; `say` hears of each before it begins.

    Where a rival does other work than ours, there is a reason and no ratio.

    Raises:
        InputError: a name is not in `MEASURES`.
    """
    for name in names:
        if name not in MEASURES:
            raise InputError(f"nothing to measure by the name {name!r}; use {', '.join(MEASURES)}")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found, refused = {}, {}
    for name in names or MEASURES:
        say(f"measuring {name}")
        try:
            found[name] = importlib.import_module(f"lus_ray.bench.{name}").measure()
        except LusError as error:  # what the others come to is worth having
            refused[name] = str(error)
            continue
        if not found[name]:
            say("there is no GPU here")
    return Report(date, found, refused)
