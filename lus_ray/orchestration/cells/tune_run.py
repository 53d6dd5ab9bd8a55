"""The cells of a campaign as one Tune run on a Ray cluster."""

import contextlib
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from lus_ray.data import store
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.data.loading.transport import Transport
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.monitoring.events import Observers
from lus_ray.monitoring.ray_metrics import CellGauges
from lus_ray.orchestration import plan_table, planner
from lus_ray.orchestration.campaign import observed
from lus_ray.orchestration.cells.inputs import input_sizes
from lus_ray.orchestration.cells.stall_warnings import StallWarnings
from lus_ray.orchestration.cells.trial import trial
from lus_ray.orchestration.cluster.admission import admit_campaign
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect, gcs_address
from lus_ray.orchestration.cluster.ray_private import inherited_environment
from lus_ray.orchestration.cluster.resources import Cluster, read_free_resources
from lus_ray.orchestration.cluster.watchdog import find_own_processes
from lus_ray.orchestration.dashboard import ActorNames, describe_job, name_actors
from lus_ray.orchestration.planner import ResourcesByArm
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.orchestration.step_costs import StepCosts, measure_steps, trains_on_gpu
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan, RunRequest

STOPS = (signal.SIGINT, signal.SIGTERM)


def run(request: RunRequest, plan: RunPlan, notify: Callable[[str], None]) -> Mapping[Cell, str]:
    """Run all unfinished cells on the cluster of the request, or on one started for it.

    Returns the reasons of failed cells.

    Raises:
        InputError: there is no such cluster, or it can never run a cell.
    """
    here = f"joining Ray at {request.address}" if request.address else "starting Ray"
    if not ray.is_initialized():
        notify(f"{here} ...")
    with contextlib.ExitStack() as stack:
        dashboard = stack.enter_context(
            connect(
                request.address, imports=CELL_MODULE, dashboard=request.dashboard,
                metadata=describe_job(plan),
            )
        )  # fmt: skip
        observers = stack.enter_context(
            observed(
                plan, CellGauges(plan.experiment.name, plan.folder, plan.cells),
                tensorboard=request.tensorboard, address=gcs_address(), dashboard=dashboard,
            )
        )  # fmt: skip
        stack.enter_context(admit_campaign(observers.notify))
        if dashboard:
            url = f"http://{dashboard.removeprefix('http://')}"
            observers.notify(f"Ray's dashboard: {url} (its token is in ~/.ray/auth_token)")
        return _run_cells(plan, observers, has_dashboard=bool(dashboard))


def _run_cells(plan: RunPlan, observers: Observers, *, has_dashboard: bool) -> Mapping[Cell, str]:
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
    observers.notify(f"cells to run: {len(plan.unfinished_cells())}, up to {max_running} at a time")
    # A reused process would hold what a group of workers waits for.
    reuse = not any(wanted.by_train for wanted in resources.values())
    actor_names = ActorNames(plan.experiment, reuse=reuse) if has_dashboard else None
    _tune(scheduler, resources, max_running, shared, reuse=reuse, names=actor_names)
    return scheduler.failed


def _plan_resources(
    plan: RunPlan, cluster: Cluster, observers: Observers, *, streamed: bool
) -> ResourcesByArm:
    """What a cell of each arm holds; on GPUs after a step of its network was measured."""
    costs: StepCosts = {}
    trained = [c for c in plan.cells if trains_on_gpu(plan.experiment.arm(c.arm))]
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
                    search_alg=_CellSearcher(scheduler),
                    scheduler=_PruningScheduler(scheduler),
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
                    callbacks=[_StallCallback(scheduler, resources), interrupts],
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


class _CellSearcher(Searcher):
    """The cells as a searcher: Tune asks it for the next trial whenever there is capacity."""

    def __init__(self, cells: CellScheduler) -> None:
        super().__init__(metric="finished", mode="max")
        self.cells = cells

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.cells.suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.cells.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.cells.on_trial_complete(trial_id)

    def save(self, *args: Any, **options: Any) -> None:
        """Save nothing: the run folder says which cells are finished."""

    restore = save_to_dir = save


class _PruningScheduler(FIFOScheduler):
    """First come, first served; stops the samples that their search prunes."""

    def __init__(self, cells: CellScheduler) -> None:
        super().__init__()
        self.cells = cells

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = self.cells.should_prune(trial.trial_id, result)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Keep Ray's error; Tune calls this just before it completes the trial in the searcher."""
        super().on_trial_error(tune_controller, trial)
        path = Path(trial.error_file or "")
        if path.is_file():
            self.cells.process_errors[trial.trial_id] = path.read_text(errors="replace")


class _StallCallback(tune.Callback):
    """Polls the warnings in every step of Tune."""

    def __init__(self, cells: CellScheduler, resources: ResourcesByArm) -> None:
        self.resources = resources
        self.warnings = StallWarnings(cells, self._explain_wait)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.warnings.poll(trials)

    def _explain_wait(self, cell: Cell, holders: Sequence[str]) -> str:
        wanted = self.resources[cell.arm]
        return planner.explain_wait(wanted, Cluster.current(), read_free_resources(), holders)
