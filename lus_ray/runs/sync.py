"""Between a run's home and the copies: what a trial and a driver bring and fetch, and when.

Without a home (a local folder, a shared filesystem) every function here does nothing.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lus_ray.errors import LusError
from lus_ray.runs.cell import Cell, Report, Work
from lus_ray.runs.layout import slug
from lus_ray.storage.mirror import NOT_READ, Home

PUSH_S = 10.0
"""What a running cell writes is brought home at most this often."""
LAST_S = 5.0
"""Patience with the storage where a cell failed anyway."""
LIVE = ("starts.json", "metrics.jsonl", "state.safetensors")
"""In this order: the state of an epoch never comes before its line of metrics."""
OF_WORKERS = ("start", "trained", "train", "worker.jsonl", "fitted.json", "cost-*.json")
MOST_WEIGHTS = 2**20
"""A driver fetches no more bytes of weights: enough for the few numbers that a report shows."""


@contextlib.contextmanager
def carried(cell: Cell, work: Work, report: Report) -> Iterator[Report]:
    """A cell's inputs and its earlier state are here before, what it made is at home afterwards.

    Gives the report function for `running.run`, which now and then brings home how far the cell
    has come. The prediction file is brought last: where it is, everything else is whole.

    Raises:
        CellError: the storage did not answer for a minute; what the cell made stays here.
    """
    if work.home is None:
        yield report
        return
    home, folder = work.home, relative(cell)
    fetch_inputs(cell, work)
    (home.local / folder / "error.txt").unlink(missing_ok=True)
    home.push(folder, exact=True, without=OF_WORKERS)
    soon = threading.Timer(1.0, _bring_quietly, (home, f"{folder}/starts.json"))
    soon.daemon = True
    soon.start()
    try:
        yield live(home, folder, report)
    except BaseException:
        soon.cancel()
        with contextlib.suppress(LusError):  # the error in the block is the one to tell
            names = ("starts.json",) if _has_workers(cell, work) else LIVE
            brought = (f"{folder}/{name}" for name in (*names, "error.txt"))
            replace(home, patience_s=LAST_S).push(*brought)
        raise
    soon.cancel()
    soon.join()
    home.push(folder, exact=True, without=OF_WORKERS)
    home.push(predictions(cell))


def live(home: Home | None, folder: str, report: Report) -> Report:
    """A report function that also brings home metrics and state of a cell's folder."""
    if home is None:
        return report
    last = -PUSH_S

    def both(values: dict[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= PUSH_S:
            home.push(*(f"{folder}/{name}" for name in LIVE))
            last = time.monotonic()
        report(values)

    return both


def fetch_inputs(cell: Cell, work: Work) -> None:
    """The record, the earlier state of a cell, and whole cells that it starts from or reads."""
    assert work.home is not None
    work.home.pull("experiment.json", "folds.json")
    for name in work.experiment.arm(cell.arm).inputs:
        earlier = Cell(name, cell.fold)
        work.home.pull(
            relative(earlier), predictions(earlier), without=("sample[0-9]*", "pictures")
        )
    work.home.pull(relative(cell), without=("pictures", *OF_WORKERS))


def fetch_run(home: Home | None) -> None:
    """Everything but large weights and states, as a driver begins."""
    if home is not None:
        home.pull(most_weights=MOST_WEIGHTS, without=NOT_READ)


def fetch_result(cell: Cell, work: Work) -> None:
    """What a cell that ended left behind, without its weights: the driver looks at these."""
    if work.home is not None:
        work.home.pull(
            relative(cell),
            predictions(cell),
            most_weights=MOST_WEIGHTS,
            without=("sample[0-9]*", "state.safetensors"),
        )


def fetch_whole(cell: Cell, work: Work) -> None:
    """A finished cell with its weights, before the driver copies it."""
    if work.home is not None:
        work.home.pull(relative(cell), predictions(cell))


def bring_whole(cell: Cell, work: Work) -> None:
    """A cell that the driver made by copying, its prediction file last."""
    if work.home is not None:
        names = sorted(p.name for p in cell.folder(work.out).iterdir())
        own = [name for name in names if not name.startswith(("sample", "."))]
        work.home.push(*(f"{relative(cell)}/{name}" for name in own), predictions(cell))


def bring_search(arm: str, work: Work) -> None:
    """The journal of an arm's search: before a sample of it begins, and after one ended."""
    if work.home is not None:
        work.home.push(f"cells/{slug(arm)}/search.journal")


def relative(cell: Cell) -> str:
    """The folder of a cell below the run."""
    return cell.folder(Path()).as_posix()


def predictions(cell: Cell) -> str:
    """The prediction file of a cell below the run."""
    return cell.predictions(Path()).as_posix()


def here(work: Work) -> Work:
    """The same work on this machine, whose copy may lie elsewhere than the driver's."""
    return work if work.home is None else replace(work, out=work.home.local)


def _has_workers(cell: Cell, work: Work) -> bool:
    """Whether metrics and state are brought by a worker, maybe newer ones than those here."""
    recipe = work.experiment.arm(cell.arm).recipe
    return recipe is not None and recipe.workers > 1


def _bring_quietly(home: Home, *names: str) -> None:
    with contextlib.suppress(LusError, OSError):  # the next one is brought, or tells why not
        home.push(*names)
