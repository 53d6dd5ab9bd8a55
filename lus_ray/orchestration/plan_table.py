"""The plan of an experiment in text: workers and shares of a GPU, arms alike on one line."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lus_ray.orchestration import run_options
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.orchestration.cluster.resources import Cluster, Node
from lus_ray.orchestration.planner import CellResources, ResourcesByArm, plan_resources
from lus_ray.orchestration.step_costs import count_steps, trains_on_gpu

MAX_NAMES = 3
CPUS_PER_GPU = 8


def lines(resources: ResourcesByArm) -> list[str]:
    """Such as "dense; sparse: 2 workers with 1 GPU each (51 ms a step (counted), ...)"."""
    return [f"{_few(names)}: {describe(wanted)}" for wanted, names in _group(resources).items()]


def render(resources: ResourcesByArm, cluster: Cluster, num_folds: int) -> str:
    """A line for each group of arms, with the cells that fit at a time."""
    text = [f"plan for {cluster.describe()}"]
    for wanted, names in _group(resources).items():
        cells, fit = len(names) * num_folds, wanted.count_cells(cluster)
        text += [f"  {_few(names)}", f"    {describe(wanted)}; {cells} cells, {fit} at a time"]
    return "\n".join(text)


def describe(wanted: CellResources) -> str:
    many = f"{wanted.workers} workers" if wanted.workers > 1 else "1 worker"
    share = f"{wanted.gpus_per_worker:.2g} GPU" if wanted.gpus_per_worker else "1 CPU"
    how = f"{many} with {share} each" if wanted.workers > 1 else f"{many} with {share}"
    where = ", in Ray Train" if wanted.by_train else ", in the trial's process"
    return how + where + (f" ({wanted.reason})" if wanted.reason else "")


def _group(resources: ResourcesByArm) -> Mapping[CellResources, list[str]]:
    groups: dict[CellResources, list[str]] = defaultdict(list)
    for name, wanted in resources.items():
        groups[wanted].append(name)
    return groups


def _few(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return "; ".join(names[:MAX_NAMES]) + more


def plan_study(
    name: str, size: str, where: str, *, arms: str | None, folds: str | None, seeds: int | None,
    settings: Sequence[str], address: str | None,
) -> str:  # fmt: skip
    """The plan of a study where nothing is run: steps are counted, not measured.

    `where` is "cluster" for the one that `address` or this machine gives, or nodes and GPUs of
    each, such as "4x2".
    """
    experiment = run_options.find_experiment(name)
    chosen = run_options.apply_options(experiment, size, arms=arms, settings=settings)
    numbers = run_options.parse_folds(chosen, folds) or chosen.folds.numbers()
    num_each = len(numbers) * (seeds or 1)
    cluster = _find_cluster(where, address)
    costs = count_steps(chosen) if cluster.gpus else {}
    num_cells = num_each * sum(map(trains_on_gpu, chosen.arms))
    resources = plan_resources(chosen, cluster, size=size, costs=costs, num_cells=num_cells)
    trained = {arm.name: resources[arm.name] for arm in chosen.arms if arm.recipe is not None}
    return render(trained, cluster, num_each)


def _find_cluster(where: str, address: str | None) -> Cluster:
    if where == "cluster":
        with connect(address, imports=CELL_MODULE):
            return Cluster.current()
    nodes, _, gpus = where.partition("x")
    return simulate(int(nodes), int(gpus))


def simulate(num_nodes: int, gpus: int) -> Cluster:
    """A cluster of equal nodes with eight CPUs for each GPU."""
    return Cluster((Node(CPUS_PER_GPU * max(1, gpus), gpus),) * num_nodes)
