"""The plan: which cells there are, what each one needs, and whether this cluster can ever run it.

Why before anything starts: a trial that asks for more than the cluster has waits for ever
without an error, and a Data task that finds no free CPU starves the training that feeds on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lus_ray.errors import ArmError, PlanError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import slug
from lus_ray.storage.paths import PathOrUri

MIN_FREE_BYTES = 200 << 20
MOST_UNKNOWN = 16
"""Trials at a time where the limits of the autoscaler are not known."""


@dataclass(frozen=True)
class CellResources:
    """What one cell holds while it runs. `data_cpus` are left free for the tasks that feed it."""

    workers: int
    gpus_per_worker: float
    data_cpus: int

    @property
    def cpus(self) -> int:
        """CPUs that must exist for the cell to finish."""
        return self.workers + self.data_cpus

    def fits(self, cluster: Cluster) -> bool:
        """Whether the cell can run here alone, when the cluster has grown as far as it may."""
        return cluster.fits(self.workers, self.gpus_per_worker, self.data_cpus)


def list_cells(experiment: Experiment, folds: Sequence[Fold]) -> tuple[Cell, ...]:
    """Every cell in the order of the table; samples of a search come when they are drawn."""
    made: list[Cell] = []
    for arm in experiment.arms:
        made += [Cell(arm.name, fold.number) for fold in folds]
    folders: dict[str, str] = {}
    for arm in experiment.arms:
        other = folders.setdefault(slug(arm.name), arm.name)
        if other != arm.name:
            raise ArmError(
                f"{experiment.name}: {arm.name!r} and {other!r} share a folder; rename one"
            )
    return tuple(made)


def required_resources(arm: Arm, cluster: Cluster, *, streamed: bool) -> CellResources:
    """What a cell of this arm holds here. A share of a GPU is asked for only where there is one."""
    if arm.recipe is None:
        return CellResources(1, 0.0, 0)
    gpus = arm.recipe.gpus if cluster.gpus > 0 else 0.0
    return CellResources(arm.recipe.workers, gpus, 1 if streamed else 0)


def check_plan(
    experiment: Experiment, cluster: Cluster, *, size: str, streamed: bool, free_bytes: int,
    out: PathOrUri,
) -> list[str]:  # fmt: skip
    """Notes for the user on how the cells will run.

    Raises:
        PlanError: a cell can never run; names the smallest change that lets it.
    """
    notes = []
    for arm in experiment.arms:
        wanted = required_resources(arm, cluster, streamed=streamed)
        if cluster.limits_unknown or wanted.fits(cluster):
            continue
        raise PlanError(f"arm {arm.name!r} needs {_asks(wanted)}, {_fix(wanted, cluster)}")
    if free_bytes < MIN_FREE_BYTES:
        raise PlanError(
            f"{out}: only {free_bytes >> 20} MiB free, {MIN_FREE_BYTES >> 20} MiB are needed; "
            "free some space or choose another --out"
        )
    if size == "full" and not cluster.gpus and any(a.recipe for a in experiment.arms):
        notes.append("no GPU here: the published recipe on CPUs takes days; --size laptop fits")
    if streamed:
        notes.append("clips are streamed from the store: they do not fit the shared memory")
    return notes + _growing(experiment, cluster, streamed=streamed)


def max_concurrent_trials(experiment: Experiment, cluster: Cluster, *, streamed: bool) -> int:
    """Trials at a time: as many as may ever run, so that data tasks never starve behind them.

    Trials that are handed out and find no room are what makes an autoscaler add nodes.
    """
    needs = [required_resources(arm, cluster, streamed=streamed) for arm in experiment.arms]
    most = max(cluster.workers(n.gpus_per_worker) // n.workers for n in needs)
    data, workers = max(n.data_cpus for n in needs), max(n.workers for n in needs)
    fewest = MOST_UNKNOWN if cluster.limits_unknown and not streamed else 1
    return max(fewest, min(most, (cluster.slots - data) // workers))


def explain_wait(
    wanted: CellResources, cluster: Cluster, free: Sequence[Node], holders: Sequence[str] = ()
) -> str:
    """What a cell that has no room waits for, in one line.

    `free` is what each node of the `cluster` has left, `holders` are cells that run meanwhile.
    """
    share, workers = wanted.gpus_per_worker, wanted.workers
    there = Cluster(cluster.nodes)
    if not wanted.fits(there):
        return (
            f"{_asks(wanted)}: {_adding(cluster, share) or f'the cluster has {cluster.describe()}'}"
        )
    adding = _adding(cluster, share)
    more = f"; {adding}" if adding else ""
    if share and sum(Node(1e9, node.gpus).workers(share) for node in free) < workers:
        held = there.gpus - sum(node.gpus for node in free)
        return f"{_gpus(workers * share)}: {held:g} of {there.gpus:g} are held{_by(holders)}{more}"
    if sum(node.slots for node in free) < wanted.cpus:
        left = sum(node.cpus for node in free)
        if left >= wanted.cpus:
            return f"{_cpus(wanted.cpus)}: {left:g} are free, but on no single node"
        held, all_cpus = there.cpus - left, there.cpus
        return f"{_cpus(wanted.cpus)}: {held:g} of {all_cpus:g} are held{_by(holders)}{more}"
    if sum(node.workers(share) for node in free) < workers:
        return f"{_bundle(share)} on one node: what is free lies on different nodes"
    return "its process to start: there is room"


def _adding(cluster: Cluster, share: float) -> str:
    """Of which kind the cluster may still add nodes that hold a worker with this share of a GPU."""
    for kind in cluster.kinds:
        if kind.more and kind.node.workers(share) and cluster.budget != 0:
            return f"the cluster is adding nodes ({kind.node.kind} {kind.up}/{kind.most} up)"
    return ""


def _growing(experiment: Experiment, cluster: Cluster, *, streamed: bool) -> list[str]:
    """A note where a cell can only run once the cluster has more nodes."""
    if cluster.limits_unknown:
        return ["this cluster's autoscaler tells no limits: cells wait for as long as it adds none"]
    there = Cluster(cluster.nodes)
    needs = [(arm, required_resources(arm, cluster, streamed=streamed)) for arm in experiment.arms]
    first = next((arm for arm, wanted in needs if not wanted.fits(there)), None)
    if first is None:
        return []
    return [f"arm {first.name!r} is waiting for the cluster to grow: it has {cluster.describe()}"]


def _asks(wanted: CellResources) -> str:
    """What a cell asks for, in words."""
    share, workers = wanted.gpus_per_worker, wanted.workers
    data = f" and {wanted.data_cpus} for its data" if wanted.data_cpus else ""
    cpus = f"{_cpus(workers)} for its workers{data}"
    if not share:
        return cpus
    return f"{_gpus(workers * share)} and {cpus}"


def _fix(wanted: CellResources, cluster: Cluster) -> str:
    """What the cluster has, and the smallest change that lets the cell run."""
    has = f"the cluster has {cluster.describe()}"
    for workers in range(wanted.workers - 1, 0, -1):
        if replace(wanted, workers=workers).fits(cluster):
            return f"{has}; use --set arm.recipe.workers={workers}"
    share = wanted.gpus_per_worker
    for gpus in (*range(int(share), 0, -1), 0.5, 0.25, 0.1):
        if gpus < share and replace(wanted, gpus_per_worker=float(gpus)).fits(cluster):
            return f"{has}; use --set arm.recipe.gpus={gpus:g}"
    return f"{has}; {_missing(wanted, cluster)}"


def _missing(wanted: CellResources, cluster: Cluster) -> str:
    """Which nodes would have to be added."""
    if not wanted.gpus_per_worker and cluster.kinds:
        kind = max(cluster.kinds, key=lambda kind: kind.node.slots)
        if each := kind.node.slots:
            lacking = max(1, -(-(wanted.cpus - cluster.slots) // each))
            return f"allow {lacking} more {kind.node.kind} (max_workers)"
    if wanted.gpus_per_worker:
        return f"add a node with {_bundle(max(1.0, wanted.gpus_per_worker))} to it"
    if len(cluster.nodes) > 1:
        return f"add a node with --num-cpus {max(1, wanted.cpus - cluster.slots)}"
    return f"start Ray with --num-cpus {wanted.cpus}"


def _bundle(share: float) -> str:
    return f"1 CPU and {_gpus(share)}" if share else "1 CPU"


def _cpus(number: float) -> str:
    return f"{number:g} CPU{'s' * (number != 1)}"


def _gpus(number: float) -> str:
    return f"{number:.3g} GPU{'s' * (number > 1)}"


def _by(holders: Sequence[str]) -> str:
    few = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
    return f" by {few}" if few else ""
