"""A campaign: every cell of an experiment that is not finished yet, run by one Tune run."""

import contextlib
import inspect
import logging
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray import tune

from lus_ray.data import store
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.data.loading.batches import FrameSize, size_of
from lus_ray.data.loading.transport import Transport
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.experiment import Experiment
from lus_ray.monitoring import status_writer
from lus_ray.monitoring import tensorboard as curves
from lus_ray.monitoring.events import Observer, Observers
from lus_ray.monitoring.progress_bar import ProgressBar
from lus_ray.monitoring.ray_metrics import CellGauges
from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.admission import admit_campaign
from lus_ray.orchestration.cluster.connection import (
    CELL_MODULE,
    connect,
    gcs_address,
    reuse_idle_workers,
)
from lus_ray.orchestration.cluster.resources import Cluster
from lus_ray.orchestration.scheduler import Pruning, Schedule
from lus_ray.orchestration.stall_warnings import StallWarnings
from lus_ray.orchestration.trial import trial
from lus_ray.runs import cohort, manifest, supervision, sync
from lus_ray.runs.cell import Work
from lus_ray.storage import mirror as homes
from lus_ray.storage.paths import PathOrUri

MANY_FRAMES = 5000
"""To resize more takes some seconds, in which nothing else can be told."""

STOPS = (signal.SIGINT, signal.SIGTERM)


def run(
    experiment: Experiment,
    *,
    data: PathOrUri,
    out: PathOrUri,
    size: str,
    only_folds: tuple[int, ...] = (),
    address: str | None = None,
    command: str = "",
    weak: bool = False,
    domains: tuple[str, ...] = (),
    tensorboard: bool = False,
) -> None:
    """Run what is missing of an experiment in `out`; returns when every cell is finished.

    With `weak`, every frame without a score of its own carries that of its clip. `domains` are
    the store's names of the domains that the experiment compares, where they are not its own.
    `command` is what asked for the run, kept in its record. A place on object storage is worked
    on in a copy (`engine.home`); with `tensorboard`, curves are written for it, too.

    Raises:
        InputError: the data, the folds, the plan or the run folder do not allow it.
        CellError: cells failed; the others are finished, and the same command tries again.
    """
    data = data.resolve() if isinstance(data, Path) else data
    home = homes.of(out)
    folder = home.local if home else Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with manifest.locked(out if home else folder):
        sync.fetch_run(home)
        index = supervision.supervised(store.read_index(data), data, weak=weak)
        experiment, index, notes = cohort.cohort(experiment, index, data, names=domains)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        experiment, left_out = supervision.fitting(experiment, index)
        for why, names in left_out.items():
            few = names if len(names) < 4 else (*names[:3], f"{len(names) - 3} more")
            print(f"note: {why}; left out: {', '.join(few)}", file=sys.stderr)
        work = manifest.prepare(
            experiment, index, folder, size=size, data=data, command=command,
            only_folds=only_folds, weak=weak, home=home,
        )  # fmt: skip
        dealt = [f for f in work.folds if not only_folds or f.number in only_folds]
        cells = planner.list_cells(experiment, dealt)
        if all(cell.finished(folder) for cell in cells):
            return
        with (
            connect(address, imports=CELL_MODULE) as dashboard,
            _watched(cells, work, dashboard, tensorboard=tensorboard) as observers,
            admit_campaign(observers.notify),
        ):
            _run_cells(cells, work, index, data, observers)


@contextlib.contextmanager
def _watched(
    cells: tuple[planner.Cell, ...], work: Work, dashboard: str | None, *, tensorboard: bool
) -> Iterator[Observers]:
    """Everyone who watches: the terminal, the run folder, Prometheus, perhaps TensorBoard."""
    home, num_finished = work.home, sum(cell.finished(work.out) for cell in cells)
    push = partial(home.push, status_writer.NAME) if home else None
    with contextlib.ExitStack() as stack:
        each: list[Observer] = [
            stack.enter_context(ProgressBar(len(cells), num_finished)),
            stack.enter_context(
                status_writer.StatusWriter(
                    work.out, cells, address=gcs_address(), dashboard=dashboard, push=push
                )
            ),
            CellGauges(work.experiment.name, work.out, cells),
        ]
        if tensorboard:
            bring = partial(home.push, curves.NAME) if home else None
            each.append(stack.enter_context(curves.TensorBoardWriter(work.out, push=bring)))
        yield Observers(*each)


def _run_cells(
    cells: tuple[planner.Cell, ...],
    work: Work,
    index: pa.Table,
    data: PathOrUri,
    observers: Observers,
) -> None:
    cluster = Cluster.current()
    num_frames = store.count_frames(data)
    seen, outlined = sizes(work.experiment)
    num_bytes = shared_memory.count_bytes(num_frames, seen, outlined)
    in_memory = num_bytes <= shared_memory.SHARE * cluster.object_store
    on_disk = memmap.plan_files(data, seen, outlined)
    streamed = not in_memory and not memmap.has_room(on_disk, num_bytes)
    free = shutil.disk_usage(work.out).free
    for note in planner.check_plan(
        work.experiment, cluster, streamed=streamed, free_bytes=free, out=work.out, size=work.size
    ):
        observers.notify(f"note: {note}")
    if num_frames > MANY_FRAMES and not streamed:
        observers.notify(f"resizing {num_frames} frames for all cells")
    shared: Transport = None if streamed else on_disk
    if in_memory:
        shared = shared_memory.share_frames(data, index, seen, outlined)
    elif not streamed and len(cluster.nodes) == 1:
        memmap.write_missing(on_disk, observers.notify)

    needs = {
        arm.name: planner.required_resources(arm, cluster, streamed=streamed)
        for arm in work.experiment.arms
    }
    schedule = Schedule(cells, work, observers, lambda cell: needs[cell.arm].gpus_per_worker)
    most = planner.max_concurrent_trials(work.experiment, cluster, streamed=streamed)
    missing = sum(not cell.finished(work.out) for cell in cells)
    observers.notify(f"{missing} cells to run, up to {most} at a time")
    given = {"work": work, "shared": shared, "store": str(data)}
    _fit(schedule, given, needs, most)
    if schedule.failed:
        names = ", ".join(cell.name for cell in list(schedule.failed)[:5])
        first = next(iter(schedule.failed.values()))
        raise CellError(
            f"{len(schedule.failed)} cells failed ({names}): {first}; "
            f"see error.txt below {work.out / 'cells'}, then run the same command again"
        )


def _bundles(
    needs: Mapping[str, planner.CellResources], config: dict[str, Any]
) -> tune.PlacementGroupFactory:
    """What a trial holds; the workers of Ray Train ask for theirs themselves."""
    wanted = needs[config["cell"]["arm"]]
    if wanted.workers > 1:
        return tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    bundle = {"CPU": 1.0}
    if wanted.gpus_per_worker:
        bundle["GPU"] = wanted.gpus_per_worker
    return tune.PlacementGroupFactory([bundle])


def _fit(
    schedule: Schedule, given: dict[str, Any], needs: Mapping[str, planner.CellResources], most: int
) -> None:
    """One Tune run. What Tune keeps for itself goes to a folder that is thrown away."""
    scratch = tempfile.mkdtemp(prefix="lus-tune-")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        with _Interrupts() as interrupts, reuse_idle_workers():
            tune.Tuner(
                tune.with_resources(tune.with_parameters(trial, **given), partial(_bundles, needs)),
                tune_config=tune.TuneConfig(
                    search_alg=schedule,
                    scheduler=Pruning(schedule),
                    num_samples=10**9,
                    max_concurrent_trials=most,
                    # A process kept for reuse would hold what a group of workers waits for.
                    reuse_actors=all(need.workers == 1 for need in needs.values()),
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=lambda t: t.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=schedule.work.experiment.name,
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[StallWarnings(schedule, needs), interrupts],
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Interrupts(tune.Callback):
    """Remembers Ctrl-C: what is raised in the middle of a destructor is swallowed there.

    SIGTERM, with which a job is stopped, counts as Ctrl-C.
    """

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> "_Interrupts":
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = {s: signal.signal(s, self._remember) for s in STOPS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if self.main:
            for number, before in self.before.items():
                signal.signal(number, before)
        if self.seen and kind is None:
            raise KeyboardInterrupt

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune all the time."""
        if self.seen:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: Any) -> None:
        self.seen = True
        raise KeyboardInterrupt


def _trial_name(t: Any) -> str:
    cell = planner.Cell(**t.config["cell"])
    return cell.name


def sizes(experiment: Experiment) -> tuple[set[FrameSize], set[FrameSize]]:
    """Every size at which an arm looks at frames, and every one at which it looks at masks.

    Both are read from what the task of an arm is given or takes by default, as to build its
    networks takes long. An ensemble looks where its members do, which are arms beside it.
    """
    seen, outlined = set(), set()
    for arm in experiment.arms:
        taken = inspect.signature(arm.task).parameters  # those of a partial have its values
        view = taken["view"].default if "view" in taken else None
        if isinstance(view, View):
            seen.add(size_of(view))
            if "scheme" in taken:
                outlined.add(size_of(view))
    return seen, outlined
