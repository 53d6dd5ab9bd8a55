"""Runs for benchmarks: the same cells through a campaign, in a plain loop, in processes."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.bench.measure import torch_threads
from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import FrameSize, InMemory, view_of
from lus_ray.errors import LusError
from lus_ray.experiment import Experiment
from lus_ray.orchestration import campaign
from lus_ray.runs import layout, predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import prepare


@dataclass
class Runs:
    """One experiment on one store, run again and again, each time in a new folder.

    `given` is a run folder whose prediction tables each run begins with.
    """

    experiment: Experiment
    data: Path
    root: Path
    given: Path | None = None

    def __post_init__(self) -> None:
        self.last: dict[str, Path] = {}

    def new_folder(self, name: str) -> Path:
        """A new run folder; the last one of this name is removed."""
        if name in self.last:
            shutil.rmtree(self.last[name])
        out = self.last[name] = Path(tempfile.mkdtemp(prefix="run-", dir=self.root))
        if self.given is not None:
            shutil.copytree(self.given / layout.PREDICTIONS, out / layout.PREDICTIONS)
        return out

    def campaign(self, name: str = "campaign", folds: tuple[int, ...] = ()) -> Path:
        """`lus run` without its output; the run folder."""
        out = self.new_folder(name)
        with contextlib.redirect_stderr(io.StringIO()):
            campaign.run(self.request(out, folds))
        return out

    def run_in_loop(
        self, name: str, num_threads: int, folds: tuple[int, ...] = (), *, arm: str = ""
    ) -> Path:
        """The cells, or those of one arm, in a plain loop on so many threads of torch and BLAS."""
        plan = self.plan(self.new_folder(name), folds)
        with torch_threads(num_threads), threadpool_limits(num_threads):
            for cell in plan.unfinished_cells():
                if arm in ("", cell.arm):
                    run_cell.run(cell, plan, pixels(self.data, self.experiment), _silent)
        return plan.folder.path

    def run_in_pool(
        self, name: str, pool: ProcessPoolExecutor, folds: tuple[int, ...] = ()
    ) -> Path:
        """The cells in a pool of processes; only for arms that need no other arm."""
        plan = self.plan(self.new_folder(name), folds)
        pending = [pool.submit(in_process, c, plan, self.data) for c in plan.unfinished_cells()]
        for future in pending:
            future.result()
        return plan.folder.path

    def request(self, out: Path, folds: tuple[int, ...] = ()) -> RunRequest:
        """The request that `lus run` would make."""
        return RunRequest(self.experiment, data=self.data, out=out, size="full", folds=folds)

    def plan(self, out: Path, folds: tuple[int, ...] = ()) -> RunPlan:
        """The plan and record of the run, as a campaign makes them."""
        return prepare(self.request(out, folds), notify=lambda note: None)


@contextlib.contextmanager
def phantom_store(**options: Any) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and a store of phantom clips in it."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        root = Path(folder)
        ingest("phantom", None, root / "store", **options)
        yield root, root / "store"


@contextlib.contextmanager
def two_processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes that stay for all runs."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


def in_process(cell: Cell, plan: RunPlan, data: Path) -> dict[str, float]:
    """Run a cell in a process of a pool; its validation scores."""
    with torch_threads(1), threadpool_limits(1):
        return run_cell.run(cell, plan, pixels(data, plan.experiment), _silent)


def pixels(data: Path, experiment: Experiment) -> InMemory:
    """The resized frames and masks of all clips; read once a process and set of sizes."""
    frame_sizes, mask_sizes = campaign.input_sizes(experiment)
    return _pixels(data, frozenset(frame_sizes), frozenset(mask_sizes))


@lru_cache(maxsize=2)
def _pixels(
    data: Path, frame_sizes: frozenset[FrameSize], mask_sizes: frozenset[FrameSize]
) -> InMemory:
    names = ("clip", "shard", "row_group", "row")
    index = store.read_index(data)
    places = list(zip(*(index[name].to_pylist() for name in names), strict=True))
    places.sort(key=lambda place: place[1:])
    frames: dict[FrameSize, dict[str, np.ndarray]] = {size: {} for size in frame_sizes}
    masks: dict[FrameSize, dict[str, np.ndarray]] = {size: {} for size in mask_sizes}
    columns = ("clip", "height", "width", "frames", *(("masks", "mask_scheme") if masks else ()))
    for row in store.read_located(data, places, columns) if frames else ():
        for size, found in frames.items():
            found[row["clip"]] = view_of(size).resize(frames_of(row))
        for size, found in masks.items():
            if (ids := masks_of(row)) is not None:
                found[row["clip"]] = view_of(size).resize_masks(ids)
    return InMemory(frames, masks)


def check_equal(ours: Path, theirs: Path, name: str, *, without: Collection[str] = ()) -> None:
    """Refuse to compare runs whose prediction tables differ, in a column that is not left out.

    Raises:
        LusError: names the baseline, the table, the column and the clip.
    """
    mine, other = _tables(ours), _tables(theirs)
    if mine != other:
        raise LusError(
            f"{name!r} made {len(other)} prediction tables where ours made {len(mine)}; "
            "no ratio is given for unequal work"
        )
    for table in mine:
        _check_table(ours / table, theirs / table, name, without)


def cell_seconds(out: Path) -> list[float]:
    """Wall seconds of each cell of a run, from its cost.json."""
    cells = RunFolder(out).finished_cells()
    return [json.loads(cell.cost.read_text())["wall_s"] for cell in cells if cell.cost.exists()]


def _tables(out: Path) -> list[str]:
    return [cell.predictions_name for cell in RunFolder(out).finished_cells()]


def _check_table(ours: Path, theirs: Path, name: str, without: Collection[str]) -> None:
    mine, other = (predictions.read(path)[1].drop_columns(list(without)) for path in (ours, theirs))
    if mine.equals(other):
        return
    for row, its in zip(mine.to_pylist(), other.to_pylist(), strict=False):
        for column in row:
            if row[column] != its[column]:
                raise LusError(
                    f"{ours.parent.name}/{ours.stem}: {column} of {row['clip']} by {name!r} "
                    "differs from ours; no ratio is given for unequal work"
                )
    raise LusError(f"{ours.parent.name}/{ours.stem}: {name!r} answers for other clips than ours")


def _silent(values: dict[str, float]) -> None:
    """Discard the progress."""
