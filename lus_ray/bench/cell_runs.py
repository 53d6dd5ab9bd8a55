"""Runs for benchmarks: the same cells through a campaign, in a plain loop, in processes."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.bench.measure import refuse, torch_threads
from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import FrameSize, InMemory, view_of
from lus_ray.experiment import Experiment
from lus_ray.orchestration import campaign
from lus_ray.runs import layout, predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import prepare


@dataclass
class Runs:
    """Runs of one experiment, each in a new folder with the prediction tables of run `given`."""

    experiment: Experiment
    data: Path
    root: Path
    given: Path | None = None

    def __post_init__(self) -> None:
        self.last: dict[str, Path] = {}

    def new_folder(self, name: str) -> Path:
        """A new run folder; removes the last one of this name."""
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
            campaign.run(self._request(out, folds))
        return out

    def run_in_loop(
        self, name: str, num_threads: int, folds: tuple[int, ...] = (), *, arm: str = ""
    ) -> Path:
        """The cells, or those of one arm, in a plain loop on so many threads of torch and BLAS."""
        plan = self.plan(self.new_folder(name), folds)
        for cell in plan.unfinished_cells():
            if arm in ("", cell.arm):
                run_on_threads(num_threads, cell, plan, self.data)
        return plan.folder.path

    def run_in_pool(
        self, name: str, pool: ProcessPoolExecutor, folds: tuple[int, ...] = ()
    ) -> Path:
        """The cells in a pool of processes, for arms that need no other arm."""
        plan = self.plan(self.new_folder(name), folds)
        run_one = partial(run_on_threads, 1, plan=plan, data=self.data)
        list(pool.map(run_one, plan.unfinished_cells()))
        return plan.folder.path

    def plan(self, out: Path, folds: tuple[int, ...] = ()) -> RunPlan:
        """The plan and record of the run, as a campaign makes them."""
        return prepare(self._request(out, folds), notify=lambda note: None)

    def _request(self, out: Path, folds: tuple[int, ...]) -> RunRequest:
        return RunRequest(self.experiment, data=self.data, out=out, size="full", folds=folds)


@contextlib.contextmanager
def phantom_store(**options: Any) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and a store of phantom clips in it."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        root = Path(folder)
        ingest("phantom", None, root / "store", **options)
        yield root, root / "store"


def two_processes() -> ProcessPoolExecutor:
    """A pool of two processes that stay for all runs."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def run_on_threads(num_threads: int, cell: Cell, plan: RunPlan, data: Path) -> dict[str, float]:
    """Run a cell in this process on so many threads of torch and BLAS; its validation scores."""
    sizes = map(frozenset, campaign.input_sizes(plan.experiment))
    with torch_threads(num_threads), threadpool_limits(num_threads):
        return run_cell.run(cell, plan, _read_pixels(data, *sizes), lambda values: None)


@lru_cache(maxsize=2)
def _read_pixels(
    data: Path, frame_sizes: frozenset[FrameSize], mask_sizes: frozenset[FrameSize]
) -> InMemory:
    """The resized frames and masks of all clips; read once per process and set of sizes."""
    frames: dict[FrameSize, dict[str, np.ndarray]] = {size: {} for size in frame_sizes}
    masks: dict[FrameSize, dict[str, np.ndarray]] = {size: {} for size in mask_sizes}
    for row in store.read(data) if frames else ():
        for size, resized in frames.items():
            resized[row["clip"]] = view_of(size).resize(frames_of(row))
        for size, resized in masks.items():
            if (ids := masks_of(row)) is not None:
                resized[row["clip"]] = view_of(size).resize_masks(ids)
    return InMemory(frames, masks)


def check_equal(ours: Path, theirs: Path, name: str, *, without: Collection[str] = ()) -> None:
    """Raise LusError, naming table, column and clip, if predictions differ in other columns."""
    tables, other_tables = (
        [cell.predictions_name for cell in RunFolder(out).finished_cells()]
        for out in (ours, theirs)
    )
    if tables != other_tables:
        refuse(f"{name!r} made {len(other_tables)} prediction tables where ours made {len(tables)}")
    for table in tables:
        _check_table(ours / table, theirs / table, name, without)


def cell_seconds(out: Path) -> list[float]:
    """Wall seconds of each cell of a run, from its cost.json."""
    cells = RunFolder(out).finished_cells()
    return [json.loads(cell.cost.read_text())["wall_s"] for cell in cells if cell.cost.exists()]


def _check_table(ours: Path, theirs: Path, name: str, without: Collection[str]) -> None:
    table, other_table = (
        predictions.read(path)[1].drop_columns(list(without)) for path in (ours, theirs)
    )
    if table.equals(other_table):
        return
    where = f"{ours.parent.name}/{ours.stem}"
    for row, other_row in zip(table.to_pylist(), other_table.to_pylist(), strict=False):
        for column in row:
            if row[column] != other_row[column]:
                refuse(f"{where}: {column} of {row['clip']} by {name!r} differs from ours")
    refuse(f"{where}: {name!r} predicts other clips than ours")
