"""Random plans on random clusters: accepted exactly if a backtracking search places them."""

import itertools
import random
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.resources import Cluster, Node, NodeType
from lus_ray.tasks import IntensityFeatures

NUM_PLANS = 200
SHARES = (0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0, 2.0)


def test_a_plan_is_accepted_exactly_if_its_cells_can_be_placed():
    num_accepted = 0
    for seed in range(NUM_PLANS):
        rng = random.Random(seed)
        cluster, streamed = random_cluster(rng), rng.random() < 0.3
        arms = [random_arm(rng, number) for number in range(rng.randint(1, 3))]
        demands = [gpu_shares(arm, cluster, streamed=streamed) for arm in arms]
        possible = all(any(can_place(nodes, d) for nodes in shapes(cluster)) for d in demands)
        assert is_accepted(arms, cluster, streamed=streamed) == possible, seed
        num_accepted += possible
    assert 50 < num_accepted < 150


def is_accepted(arms, cluster, *, streamed):
    experiment = Experiment("random", "Random", rotating(3), tuple(arms), ("auc",))
    settings = {"size": "laptop", "free_bytes": 1 << 40, "out": Path("out")}
    resources = planner.plan_resources(experiment, cluster, size="laptop", streamed=streamed)
    try:
        planner.check_plan(experiment, cluster, resources, streamed=streamed, **settings)
    except PlanError as error:
        remedy = str(error).split("; ")[-1]
        assert remedy.startswith(("use --set", "add a node", "allow ", "start Ray"))
        return False
    assert planner.max_concurrent_trials(resources, cluster) >= 1
    return True


def random_cluster(rng):
    nodes = tuple(random_node(rng) for _ in range(rng.randint(1, 3)))
    node_types = tuple(
        NodeType(random_node(rng, f"kind{n}"), num_addable=rng.randint(0, 2), max_nodes=2)
        for n in range(rng.choice((0, 0, 1, 2)))
    )
    return Cluster(nodes, node_types, max_added=rng.choice((None, 0, 1, 2, 3)))


def random_node(rng, kind=""):
    return Node(rng.choice((0, 0, 1, 1, 2, 3)), rng.choice((0, 0, 0, 1, 2)), kind=kind)


def random_arm(rng, number):
    workers, gpus = rng.choice((1, 1, 1, 2, 3, 4)), rng.choice(SHARES)
    recipe = Recipe(epochs=1, batch=8, lr=0.1, workers=workers, gpus=gpus)
    return Arm(f"arm {number}", partial(IntensityFeatures), recipe)


def gpu_shares(arm, cluster, *, streamed):
    """The share of every process of a cell: its workers, and a task for their data."""
    has_gpu = any(node.gpus for nodes in [cluster.nodes, *shapes(cluster)] for node in nodes)
    return [arm.recipe.gpus if has_gpu else 0.0] * arm.recipe.workers + [0.0] * streamed


def shapes(cluster) -> Iterator[list[Node]]:
    types = cluster.node_types
    for counts in itertools.product(*(range(t.num_addable + 1) for t in types)):
        if cluster.max_added is None or sum(counts) <= cluster.max_added:
            added = [[t.node] * n for t, n in zip(types, counts, strict=True)]
            yield [*cluster.nodes, *itertools.chain(*added)]


def can_place(nodes: list[Node], shares: list[float]) -> bool:
    free = ((int(node.cpus), (1.0,) * int(node.gpus)) for node in nodes)
    return _place(tuple(sorted(free)), tuple(shares))


@cache
def _place(free: tuple[tuple[int, tuple[float, ...]], ...], shares: tuple[float, ...]) -> bool:
    """Whether every process gets a CPU and its share of a GPU on one of the nodes."""
    return not shares or any(
        _place(tuple(sorted((*free[:n], (cpus - 1, left), *free[n + 1 :]))), shares[1:])
        for n, (cpus, gpus) in enumerate(free)
        if cpus
        for left in _take_share(gpus, shares[0])
    )


def _take_share(gpus: tuple[float, ...], share: float) -> list[tuple[float, ...]]:
    """What is left of a node's GPUs for every way to take a share; one above 1 takes whole GPUs."""
    if share == 0:
        return [gpus]
    count = max(1, int(share))
    return [
        tuple(left - share / count if i in taken else left for i, left in enumerate(gpus))
        for taken in itertools.combinations(range(len(gpus)), count)
        if all(gpus[i] + 1e-9 >= share / count for i in taken)
    ]
