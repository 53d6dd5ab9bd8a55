"""Runs for benchmarks: the same cells through a campaign, in a plain loop, in processes."""

import io
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

    def run_alone(
        self, name: str, folds: tuple[int, ...] = (), *, arm: str = "", map_cells: Any = map
    ) -> Path:
        """The cells, or those of one arm, in a plain loop or by the map of a pool of processes."""
        plan = self.plan(self.new_folder(name), folds)
        run_one = partial(run_cell_alone, plan=plan, data=self.data)
        list(map_cells(run_one, [c for c in plan.unfinished_cells() if arm in ("", c.arm)]))
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


def run_cell_alone(cell: Cell, plan: RunPlan, data: Path) -> dict[str, float]:
    """Run a cell in this process on one thread of torch and BLAS; its validation scores."""
    pixels = _read_pixels(data, *map(frozenset, input_sizes(plan.experiment)))
    with torch_threads(1), threadpool_limits(1):
        return run_cell.run(cell, plan, pixels, lambda values: None)


@lru_cache(maxsize=2)
def _read_pixels(data: Path, *sizes: frozenset[FrameSize]) -> InMemory:
    """The resized frames and masks of all clips; read once per process and set of sizes."""
    return load_frames(data, store.read_index(data), *sizes, num_threads=1)


def check_equal(ours: Path, theirs: Path, name: str) -> None:
    """Raise LusError, naming table and columns, if predictions differ."""
    cells = [RunFolder(out).finished_cells() for out in (ours, theirs)]
    tables, others = ([cell.predictions_name for cell in side] for side in cells)
    if tables != others:
        refuse(f"{name!r} made {len(others)} prediction tables where ours made {len(tables)}")
    for table in tables:
        columns, other_columns = (predictions.read(out / table)[1] for out in (ours, theirs))
        if differing := [c for c in columns.column_names if columns[c] != other_columns[c]]:
            refuse(f"{table}: {', '.join(differing)} by {name!r} differ from ours")
