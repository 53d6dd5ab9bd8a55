"""Runs for benchmarks: the same cells through a campaign, in a plain loop, in processes."""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.bench.measure import refuse, torch_threads
from lus_ray.clip import Row
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import FrameSize, InMemory
from lus_ray.data.loading.resizing import load_frames
from lus_ray.experiment import Experiment
from lus_ray.orchestration import campaign
from lus_ray.orchestration.cells.inputs import input_sizes
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
    last: dict[str, Path] = field(default_factory=dict, init=False)

    def new_folder(self, name: str) -> Path:
        """A new run folder; removes the last one of this name."""
        if name in self.last:
            shutil.rmtree(self.last[name])
        out = self.last[name] = Path(tempfile.mkdtemp(prefix="run-", dir=self.root))
        if self.given is not None:
            shutil.copytree(self.given / layout.PREDICTIONS, out / layout.PREDICTIONS)
        return out

    def campaign(self, folds: tuple[int, ...] = ()) -> Path:
        """`lus run` without its output; the run folder."""
        out = self.new_folder("campaign")
        with redirect_stderr(io.StringIO()):
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

    def run_in_pool(self, pool: ProcessPoolExecutor, folds: tuple[int, ...] = ()) -> Path:
        """The cells in a pool of processes, for arms that need no other arm."""
        plan = self.plan(self.new_folder("pool"), folds)
        run_one = partial(run_on_threads, 1, plan=plan, data=self.data)
        list(pool.map(run_one, plan.unfinished_cells()))
        return plan.folder.path

    def plan(self, out: Path, folds: tuple[int, ...] = ()) -> RunPlan:
        return prepare(self._request(out, folds), notify=lambda note: None)

    def _request(self, out: Path, folds: tuple[int, ...]) -> RunRequest:
        return RunRequest(self.experiment, data=self.data, out=out, size="full", folds=folds)


@contextmanager
def phantom_store(**options: Any) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and a store of phantom clips in it."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        root = Path(folder)
        ingest("phantom", None, root / "store", **options)
        yield root, root / "store"


def new_processes(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, mp_context=get_context("spawn"))


def run_on_threads(num_threads: int, cell: Cell, plan: RunPlan, data: Path) -> dict[str, float]:
    """Run a cell in this process on so many threads of torch and BLAS; its validation scores."""
    pixels = _read_pixels(data, *map(frozenset, input_sizes(plan.experiment)))
    with torch_threads(num_threads), threadpool_limits(num_threads):
        return run_cell.run(cell, plan, pixels, lambda values: None)


@lru_cache(maxsize=2)
def _read_pixels(data: Path, *sizes: frozenset[FrameSize]) -> InMemory:
    """The resized frames and masks of all clips; read once per process and set of sizes."""
    return load_frames(data, store.read_index(data), *sizes, num_threads=1)


def check_equal(ours: Path, theirs: Path, name: str) -> None:
    """Raise LusError, naming table, column and clip, if predictions differ."""

    def read_rows(path: Path) -> list[Row]:
        return predictions.read(path)[1].to_pylist()

    cells = [RunFolder(out).finished_cells() for out in (ours, theirs)]
    tables, others = ([cell.predictions_name for cell in side] for side in cells)
    if tables != others:
        refuse(f"{name!r} made {len(others)} prediction tables where ours made {len(tables)}")
    for table in tables:
        rows, other_rows = read_rows(ours / table), read_rows(theirs / table)
        where = table.removeprefix(f"{layout.PREDICTIONS}/").removesuffix(".parquet")
        if len(rows) != len(other_rows):
            refuse(f"{where}: {name!r} predicts other clips than ours")
        for row, other_row in zip(rows, other_rows, strict=True):
            for column in row:
                if row[column] != other_row[column]:
                    refuse(f"{where}: {column} of {row['clip']} by {name!r} differs from ours")


def cell_seconds(out: Path) -> list[float]:
    """Wall seconds of each cell of a run, from its cost.json."""
    cells = RunFolder(out).finished_cells()
    return [json.loads(cell.cost.read_text())["wall_s"] for cell in cells if cell.cost.exists()]
