"""The plan of a campaign: its cells, the resources of each, and whether the cluster can run them.

Why check first: Ray keeps a trial that asks for more than the cluster has waiting forever without
an error, and a Data task that finds no free CPU starves the training that reads from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.storage.paths import PathOrUri

MIN_FREE_BYTES = 200 << 20
MAX_TRIALS_UNKNOWN = 16
"""Concurrent trials if the limits of the autoscaler cannot be read."""


@dataclass(frozen=True)
class CellResources:
    """What one cell holds while it runs; `data_cpus` stay free for the tasks that feed it."""

    workers: int
    gpus_per_worker: float
    data_cpus: int

    @property
    def cpus(self) -> int:
        return self.workers + self.data_cpus

    def can_fit(self, cluster: Cluster) -> bool:
        """Whether the cell can run alone on the cluster at full size."""
        return cluster.can_fit(self.workers, self.gpus_per_worker, self.data_cpus)


ResourcesByArm = Mapping[str, CellResources]


def required_resources(arm: Arm, cluster: Cluster, *, streamed: bool) -> CellResources:
    """What a cell of this arm holds; a share of a GPU only if the cluster has any."""
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
        PlanError: a cell can never run; the message names the smallest change that lets it.
    """
    notes, up, waiting = [], Cluster(cluster.nodes), ""
    for arm in experiment.arms:
        resources = required_resources(arm, cluster, streamed=streamed)
        waiting = waiting or ("" if resources.can_fit(up) else arm.name)
        if not cluster.limits_unknown and not resources.can_fit(cluster):
            remedy = _suggest_change(resources, cluster)
            raise PlanError(
                f"arm {arm.name!r} needs {_describe(resources)}, "
                f"the cluster has {cluster.describe()}; {remedy}"
            )
    if free_bytes < MIN_FREE_BYTES:
        raise PlanError(
            f"{out}: only {free_bytes >> 20} MiB free, {MIN_FREE_BYTES >> 20} MiB are needed; "
            "free some space or choose another --out"
        )
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


def max_concurrent_trials(experiment: Experiment, cluster: Cluster, *, streamed: bool) -> int:
    """As many trials as can run at full size: waiting ones make an autoscaler add nodes."""
    each_arm = [required_resources(arm, cluster, streamed=streamed) for arm in experiment.arms]
    most = max(cluster.count_workers(r.gpus_per_worker) // r.workers for r in each_arm)
    data_cpus = max(r.data_cpus for r in each_arm)
    workers = max(r.workers for r in each_arm)
    fewest = MAX_TRIALS_UNKNOWN if cluster.limits_unknown and not streamed else 1
    return max(fewest, min(most, (cluster.slots - data_cpus) // workers))


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
