"""`lus bench`: ratios against the best honest rival, measured in turn in one process."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lus_ray.bench import uninorm
from lus_ray.bench.measure import Measured
from lus_ray.bench.report import Report
from lus_ray.errors import InputError

__all__ = ["MEASURES", "Report", "run"]

MEASURES: dict[str, Callable[[], dict[str, Measured]]] = {"uninorm": uninorm.measure}
"""Names, and the functions that measure: comparisons by what is compared."""


def run(names: Sequence[str] = ()) -> Report:
    """Measure what is named, or everything; each one checks its rivals before it times them.

    Raises:
        InputError: a name is not in `MEASURES`.
        LusError: a rival does other work than ours.
    """
    for name in names:
        if name not in MEASURES:
            raise InputError(f"nothing to measure by the name {name!r}; use {', '.join(MEASURES)}")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(date, {name: MEASURES[name]() for name in names or MEASURES})
