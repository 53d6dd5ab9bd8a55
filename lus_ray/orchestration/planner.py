"""The plan of a campaign: its cells, the resources of each, and whether the cluster can run them.

Why check first: Ray keeps a trial that asks for more than the cluster has waiting forever without
an error, and a Data task that finds no free CPU starves the training that reads from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lus_ray.errors import PlanError
from lus_ray.experiment import TRIAL_SIZES, Arm, Experiment
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.orchestration.early_checks import refuse_full_disk
from lus_ray.orchestration.step_costs import StepCosts, trains_on_gpu, uses_gpu
from lus_ray.orchestration.worker_rule import Allocation, allocate
from lus_ray.storage.paths import PathOrUri
from lus_ray.training.step_cost import StepCost

MAX_TRIALS_UNKNOWN = 16
"""Concurrent trials if the limits of the autoscaler cannot be read."""


@dataclass(frozen=True)
class CellResources:
    """What one cell holds while it runs; `data_cpus` stay free for the tasks that feed it.

    `on_one_node` keeps its workers together. `by_train` makes it a Ray Train run; other cells train
    in the process of their trial. `reason` says why the planner chose so many workers.
    """

    workers: int
    gpus_per_worker: float
    data_cpus: int
    on_one_node: bool = False
    by_train: bool = False
    reason: str = ""

    @property
    def cpus(self) -> int:
        return self.workers + self.data_cpus

    def count_cells(self, cluster: Cluster) -> int:
        """Cells of this kind that run at once at full size."""
        return cluster.count_cells(self.workers, self.gpus_per_worker, on_one_node=self.on_one_node)

    def cluster_share(self, cluster: Cluster) -> float:
        """What its workers take of the cluster, at most 1; 0 where its trial reserves it."""
        if not self.by_train or cluster.limits_unknown:
            return 0.0
        return 1 / max(1, self.count_cells(cluster))

    def can_fit(self, cluster: Cluster) -> bool:
        """Whether the cell can run alone on the cluster at full size."""
        return cluster.can_fit(self.workers, self.gpus_per_worker, self.data_cpus)


ResourcesByArm = Mapping[str, CellResources]
NO_COSTS: StepCosts = {}


def plan_resources(
    experiment: Experiment, cluster: Cluster, *, size: str, streamed: bool = False,
    costs: StepCosts = NO_COSTS, num_cells: int | None = None,
) -> dict[str, CellResources]:  # fmt: skip
    """What a cell of each arm holds, on GPUs by the rule of `worker_rule`.

    `num_cells` compete for the GPUs; by default those of all trained networks on all folds.
    """
    if num_cells is None:
        num_networks = sum(map(trains_on_gpu, experiment.arms))
        num_cells = num_networks * len(experiment.folds.numbers())
    return {
        arm.name: _required_resources(
            arm, cluster, costs.get(arm.name), size=size, streamed=streamed, num_cells=num_cells
        )
        for arm in experiment.arms
    }


def _required_resources(
    arm: Arm, cluster: Cluster, cost: StepCost | None, *, size: str, streamed: bool, num_cells: int
) -> CellResources:
    recipe = arm.recipe
    if recipe is None:
        return CellResources(1, 0.0, 0)
    data_cpus = 1 if streamed else 0
    is_automatic = recipe.workers is None and recipe.gpus is None
    workers, on_one_node = recipe.workers or 1, False
    gpus, reason = 1.0 if recipe.gpus is None else recipe.gpus, "set in the recipe"
    if not cluster.gpus:
        gpus, reason = 0.0, reason if recipe.workers else "no GPU"
    elif is_automatic and not uses_gpu(arm):
        gpus, reason = 0.0, "runs no network on frames"
    elif is_automatic and cost is None:
        reason = "a step cannot be counted"
    elif is_automatic and cost is not None:
        most = 1 if size in TRIAL_SIZES or not recipe.epochs else None
        chosen = allocate(cost, cluster, num_cells=max(1, num_cells), max_workers=most)
        workers, gpus, reason = chosen.workers, chosen.gpus, _explain(cost, chosen)
        on_one_node = workers > 1 and chosen.on_one_node
        if not recipe.epochs:
            reason = "0 epochs: estimates batch norms anew"
    is_long = recipe.epochs > 0 and size not in TRIAL_SIZES  # longer than Ray Train takes to start
    by_train = workers > 1 or (gpus > 0 and is_long)
    return CellResources(workers, gpus, data_cpus, on_one_node, by_train, reason)


def _explain(cost: StepCost, chosen: Allocation) -> str:
    """Such as "51 ms a step (counted), 27 ms with 2 workers"."""
    text = f"{_milliseconds(cost.step_s)} a step ({cost.measured or 'counted'})"
    if chosen.workers > 1:
        text += f", {_milliseconds(chosen.step_s)} with {chosen.workers} workers"
    elif chosen.gpus < 1:
        busy = cost.busy_s / cost.step_s if cost.step_s else 0.0
        text += f", of which the GPU computes {busy:.0%}"
    return text


def _milliseconds(seconds: float) -> str:
    return f"{float(f'{1000 * seconds:.2g}'):g} ms"


def check_plan(
    experiment: Experiment, cluster: Cluster, resources: ResourcesByArm, *, size: str,
    streamed: bool, free_bytes: int, out: PathOrUri,
) -> list[str]:  # fmt: skip
    """Notes for the user on how the cells will run.

    Raises:
        PlanError: a cell can never run; the message names the smallest change that lets it.
    """
    notes, up, waiting = [], Cluster(cluster.nodes), ""
    for name, wanted in resources.items():
        waiting = waiting or ("" if wanted.can_fit(up) else name)
        if not cluster.limits_unknown and not wanted.can_fit(cluster):
            raise PlanError(
                f"arm {name!r} needs {_describe(wanted)}, the cluster has {cluster.describe()}; "
                f"{_suggest_change(wanted, cluster)}"
            )
    refuse_full_disk(out, free_bytes)
    if size == "full" and not cluster.gpus and any(arm.recipe for arm in experiment.arms):
        notes.append("no GPU: the published recipe takes days on CPUs; use --size laptop")
    if streamed:
        notes.append("clips are streamed from the store: they do not fit the shared memory")
    if cluster.limits_unknown:
        notes.append("the autoscaler's limits are unknown: cells wait until it adds nodes")
    elif waiting:
        has = cluster.describe()
        notes.append(f"arm {waiting!r} is waiting for the cluster to grow: it has {has}")
    return notes


def max_concurrent_trials(resources: ResourcesByArm, cluster: Cluster) -> int:
    """As many trials as can run at full size: waiting ones make an autoscaler add nodes.

    Workers take no CPU that data needs, whichever arms run at a time.
    """
    each_arm = resources.values()
    most = max(wanted.count_cells(cluster) for wanted in each_arm)
    data_cpus = max(r.data_cpus for r in each_arm)
    free_cpus = cluster.slots - data_cpus
    by_cpu = [
        r.workers
        for r in each_arm
        if not r.gpus_per_worker or cluster.count_workers(r.gpus_per_worker) > free_cpus
    ]
    fewest = MAX_TRIALS_UNKNOWN if cluster.limits_unknown and not data_cpus else 1
    return max(fewest, min(most, free_cpus // max(by_cpu, default=1)))


def explain_wait(
    resources: CellResources, cluster: Cluster, free: Sequence[Node], holders: Sequence[str] = ()
) -> str:
    """What a pending cell waits for, given what each node has `free` and the running `holders`."""
    share, workers = resources.gpus_per_worker, resources.workers
    up = Cluster(cluster.nodes)
    adding = _describe_scaling(cluster, share)
    if not resources.can_fit(up):
        return f"{_describe(resources)}: {adding or f'the cluster has {cluster.describe()}'}"
    suffix = f"{_name_holders(holders)}; {adding}" if adding else _name_holders(holders)
    if share and sum(Node(1e9, node.gpus).count_workers(share) for node in free) < workers:
        held = up.gpus - sum(node.gpus for node in free)
        return f"{_gpus(workers * share)}: {held:g} of {up.gpus:g} are in use{suffix}"
    if sum(node.slots for node in free) < resources.cpus:
        free_cpus = sum(node.cpus for node in free)
        if free_cpus >= resources.cpus:
            return f"{_cpus(resources.cpus)}: {free_cpus:g} are free, but on no single node"
        return f"{_cpus(resources.cpus)}: {up.cpus - free_cpus:g} of {up.cpus:g} are in use{suffix}"
    if sum(node.count_workers(share) for node in free) < workers:
        return f"{_bundle(share)} on one node: what is free is on different nodes"
    return "its process to start: resources are free"


def _describe_scaling(cluster: Cluster, share: float) -> str:
    for addable in cluster.node_types:
        if addable.num_addable and addable.node.count_workers(share) and cluster.max_added != 0:
            count = f"{addable.node.kind} {addable.num_up}/{addable.max_nodes} up"
            return f"the cluster is adding nodes ({count})"
    return ""


def _describe(resources: CellResources) -> str:
    data = f" and {resources.data_cpus} for its data" if resources.data_cpus else ""
    gpus = resources.workers * resources.gpus_per_worker
    share = f"{_gpus(gpus)} and " if gpus else ""
    return f"{share}{_cpus(resources.workers)} for its workers{data}"


def _suggest_change(resources: CellResources, cluster: Cluster) -> str:
    for workers in range(resources.workers - 1, 0, -1):
        if replace(resources, workers=workers).can_fit(cluster):
            return f"use --set arm.recipe.workers={workers}"
    share = resources.gpus_per_worker
    for gpus in (*range(int(share), 0, -1), 0.5, 0.25, 0.1):
        if gpus < share and replace(resources, gpus_per_worker=float(gpus)).can_fit(cluster):
            return f"use --set arm.recipe.gpus={gpus:g}"
    if not share and cluster.node_types:
        largest = max(cluster.node_types, key=lambda node_type: node_type.node.slots).node
        if largest.slots:
            num_missing = max(1, -(-(resources.cpus - cluster.slots) // largest.slots))
            return f"allow {num_missing} more {largest.kind} (max_workers)"
    if share:
        return f"add a node with {_bundle(max(1.0, share))} to it"
    if len(cluster.nodes) > 1:
        return f"add a node with --num-cpus {max(1, resources.cpus - cluster.slots)}"
    return f"start Ray with --num-cpus {resources.cpus}"


def _bundle(share: float) -> str:
    return f"1 CPU and {_gpus(share)}" if share else "1 CPU"


def _cpus(number: float) -> str:
    return f"{number:g} CPU{'s' * (number != 1)}"


def _gpus(number: float) -> str:
    return f"{number:.3g} GPU{'s' * (number > 1)}"


def _name_holders(holders: Sequence[str]) -> str:
    names = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
    return f" by {names}" if names else ""
