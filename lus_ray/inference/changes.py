"""Whether anything changed that decides what run folders offer, without reading any of it."""

from pathlib import Path

DECIDING = (
    "experiment.json",
    "predictions/*/fold*.parquet",
    "cells/*/fold*/cost.json",
    "cells/*/fold*/checkpoint/*",
)
"""Files of a run that `lus_ray.inference.model_selection` reads."""

Stamp = frozenset[tuple[str, int, int, int]]
"""Of each file its path, number, size in bytes, and time in nanoseconds."""


def stamp(folder: Path) -> Stamp:
    """Another one as soon as such a file of a run folder or of its neighbours is another one."""
    found = set()
    for pattern in DECIDING:
        for path in folder.resolve().parent.glob(f"*/{pattern}"):
            try:
                told = path.stat()
            except OSError:  # it went away meanwhile, which the next stamp tells
                continue
            found.add((str(path), told.st_ino, told.st_size, told.st_mtime_ns))
    return frozenset(found)
