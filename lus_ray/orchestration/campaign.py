"""A campaign: one Tune run that executes every unfinished cell of an experiment."""

import contextlib
import inspect
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ray
from ray import tune

from lus_ray.data import store
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.data.loading.batches import FrameSize, size_of
from lus_ray.data.loading.transport import Transport
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.experiment import TRIAL_SIZES, Experiment
from lus_ray.monitoring.events import Observer, Observers
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.monitoring.progress_bar import ProgressBar
from lus_ray.monitoring.ray_metrics import CellGauges
from lus_ray.monitoring.status_writer import StatusWriter
from lus_ray.monitoring.tensorboard import TensorBoardWriter
from lus_ray.orchestration import plan_table, planner
from lus_ray.orchestration.cluster.admission import admit_campaign
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect, gcs_address
from lus_ray.orchestration.cluster.ray_private import inherited_environment
from lus_ray.orchestration.cluster.resources import Cluster
from lus_ray.orchestration.cluster.watchdog import find_own_processes
from lus_ray.orchestration.dashboard import ActorNames, describe_job, name_actors
from lus_ray.orchestration.planner import ResourcesByArm
from lus_ray.orchestration.scheduler import CellScheduler, PruningScheduler
from lus_ray.orchestration.stall_warnings import StallWarnings
from lus_ray.orchestration.step_costs import StepCosts, measure_steps, trains_on_frames
from lus_ray.orchestration.trial import trial
from lus_ray.runs import layout
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import prepare, print_note

STOPS = (signal.SIGINT, signal.SIGTERM)


def run(request: RunRequest, notify: Callable[[str], None] = print_note) -> None:
    """Run the unfinished cells of a request; `notify` gets the lines before the first cell.

    Raises:
        InputError: the data, the folds, the cluster or the run folder do not allow it.
        CellError: cells failed; the others are finished, and the same command tries again.
    """
    with RunFolder.create(request.out).lock():
        with PhaseLog(notify, "selecting clips and folds ...") as log:
            plan = prepare(request, notify=log.notify)
        if not plan.unfinished_cells():
            return
        here = f"joining Ray at {request.address}" if request.address else "starting Ray"
        if not ray.is_initialized():
            notify(f"{here} ...")
        with (
            connect(
                request.address,
                imports=CELL_MODULE,
                dashboard=request.dashboard,
                metadata=describe_job(plan),
            ) as dashboard,
            _observed(plan, dashboard, tensorboard=request.tensorboard) as observers,
            admit_campaign(observers.notify),
        ):
            if dashboard:
                url = f"http://{dashboard.removeprefix('http://')}"
                observers.notify(f"Ray's dashboard: {url} (its token is in ~/.ray/auth_token)")
            _run_cells(plan, observers, has_dashboard=bool(dashboard))


@contextlib.contextmanager
def _observed(plan: RunPlan, dashboard: str | None, *, tensorboard: bool) -> Iterator[Observers]:
    folder, cells = plan.folder, plan.cells
    with contextlib.ExitStack() as stack:
        num_finished = len(cells) - len(plan.unfinished_cells())
        recipes = {arm.name: arm.recipe for arm in plan.experiment.arms}
        num_epochs = {name: recipe.epochs for name, recipe in recipes.items() if recipe}
        status = StatusWriter(folder, cells, address=gcs_address(), dashboard=dashboard)
        observers: list[Observer] = [
            stack.enter_context(ProgressBar(len(cells), num_finished, num_epochs=num_epochs)),
            stack.enter_context(status),
            stack.enter_context(CellGauges(plan.experiment.name, folder, cells)),
        ]
        if tensorboard:
            observers.append(stack.enter_context(TensorBoardWriter(folder)))
        yield Observers(*observers)


def _run_cells(plan: RunPlan, observers: Observers, *, has_dashboard: bool) -> None:
    cluster, folder = Cluster.current(), plan.folder
    num_frames = store.count_frames(plan.data)
    frame_sizes, mask_sizes = input_sizes(plan.experiment)
    num_bytes = shared_memory.count_bytes(num_frames, frame_sizes, mask_sizes)
    in_memory = num_bytes <= shared_memory.SHARE * cluster.object_store
    on_disk = memmap.plan_files(plan.data, frame_sizes, mask_sizes)
    streamed = not in_memory and not memmap.has_room(on_disk, num_bytes)
    resources = _plan_resources(plan, cluster, observers, streamed=streamed)
    for note in planner.check_plan(
        plan.experiment, cluster, resources, streamed=streamed, out=folder.path, size=plan.size,
        free_bytes=shutil.disk_usage(folder.path).free,
    ):  # fmt: skip
        observers.notify(f"note: {note}")
    if not streamed:
        observers.notify(f"resizing {num_frames} frames for all cells ...")
    shared: Transport = None if streamed else on_disk
    if in_memory:
        shared = shared_memory.share_frames(plan.data, plan.index, frame_sizes, mask_sizes)
    elif not streamed and len(cluster.nodes) == 1:
        memmap.write_missing(on_disk, observers.notify)

    scheduler = CellScheduler(
        plan, observers, lambda cell: resources[cell.arm].gpus_per_worker,
        share=lambda cell: resources[cell.arm].cluster_share(cluster),
    )  # fmt: skip
    max_running = planner.max_concurrent_trials(resources, cluster)
    observers.notify(f"{len(plan.unfinished_cells())} cells to run, up to {max_running} at a time")
    # A reused process would hold what a group of workers waits for.
    reuse = not any(wanted.by_train for wanted in resources.values())
    actor_names = ActorNames(plan.experiment, reuse=reuse) if has_dashboard else None
    _tune(scheduler, resources, max_running, shared, reuse=reuse, names=actor_names)
    if scheduler.failed:
        names = ", ".join(cell.name for cell in [*scheduler.failed][:5])
        first = next(iter(scheduler.failed.values()))
        raise CellError(
            f"{len(scheduler.failed)} cells failed ({names}): {first}; see {layout.ERROR} below "
            f"{folder.path / layout.CELLS}, then run the same command again"
        )


def _plan_resources(
    plan: RunPlan, cluster: Cluster, observers: Observers, *, streamed: bool
) -> ResourcesByArm:
    """What a cell of each arm holds; on GPUs after a step of its network was measured."""
    costs: StepCosts = {}
    trained = [c for c in plan.cells if trains_on_frames(plan.experiment.arm(c.arm))]
    if cluster.gpus and trained:
        unfinished = {cell.arm for cell in plan.unfinished_cells()}
        names = [] if plan.size in TRIAL_SIZES else sorted(unfinished)
        costs = measure_steps(plan.experiment, names, cluster, plan.folder, observers.notify)
    resources = planner.plan_resources(
        plan.experiment, cluster, size=plan.size, streamed=streamed, costs=costs,
        num_cells=len(trained),
    )  # fmt: skip
    for line in plan_table.lines(resources) if cluster.gpus else ():
        observers.notify(line)
    return resources


def _bundles(
    resources: ResourcesByArm, names: ActorNames | None, config: dict[str, Any]
) -> tune.PlacementGroupFactory:
    """What a trial reserves; the workers of Ray Train request theirs themselves."""
    wanted = resources[config["cell"]["arm"]]
    bundle: dict[str, float] = {"CPU": 0, "memory": 1} if wanted.by_train else {"CPU": 1.0}
    if not wanted.by_train and wanted.gpus_per_worker:
        bundle["GPU"] = wanted.gpus_per_worker
    return tune.PlacementGroupFactory([bundle], **(names.group(config) if names else {}))


def _tune(
    scheduler: CellScheduler, resources: ResourcesByArm, max_running: int, shared: Transport, *,
    reuse: bool, names: ActorNames | None,
) -> None:  # fmt: skip
    """Run all cells in one Tune run; Tune's own files go to a temporary folder."""
    scratch = tempfile.mkdtemp(prefix="lus-tune-")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    run_trial = tune.with_parameters(trial, plan=scheduler.plan, shared=shared, resources=resources)
    run_trial = tune.with_resources(run_trial, partial(_bundles, resources, names))
    # Processes of a joined cluster need the environment that Tune passes to each trial.
    environment = inherited_environment() if find_own_processes() else contextlib.nullcontext()
    try:
        with _Interrupts() as interrupts, environment:
            tune.Tuner(
                name_actors(run_trial, names) if names else run_trial,
                tune_config=tune.TuneConfig(
                    search_alg=scheduler,
                    scheduler=PruningScheduler(scheduler),
                    num_samples=10**9,
                    max_concurrent_trials=max_running,
                    reuse_actors=reuse,
                    trial_name_creator=lambda t: Cell(**t.config["cell"]).name,
                    trial_dirname_creator=lambda t: t.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=scheduler.plan.experiment.name,
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[StallWarnings(scheduler, resources), interrupts],
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Interrupts(tune.Callback):
    """Remembers Ctrl-C and SIGTERM, as Python swallows exceptions raised in a destructor."""

    is_interrupted = False

    def __enter__(self) -> "_Interrupts":
        is_main = threading.current_thread() is threading.main_thread()
        self.before = {stop: signal.signal(stop, self._remember) for stop in STOPS if is_main}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)
        if self.is_interrupted and kind is None:
            raise KeyboardInterrupt

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.is_interrupted:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: Any) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt


def input_sizes(experiment: Experiment) -> tuple[set[FrameSize], set[FrameSize]]:
    """Sizes at which arms read frames, and those at which they read masks.

    Both come from arguments and defaults of the task, as building its networks takes long.
    """
    frame_sizes, mask_sizes = set(), set()
    for arm in experiment.arms:
        parameters = inspect.signature(arm.task).parameters  # those of a partial have its values
        view = parameters["view"].default if "view" in parameters else None
        if isinstance(view, View):
            frame_sizes.add(size_of(view))
            if "scheme" in parameters:
                mask_sizes.add(size_of(view))
    return frame_sizes, mask_sizes
