"""Random plans on random clusters: accepted exactly where a search of all placements finds one.

The search knows nothing of the planner: it puts one process after the other on a node and one of
its GPUs, and takes back what leads nowhere.
"""

import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.resources import Cluster, Node, NodeType
from lus_ray.tasks import IntensityFeatures

NUM_PLANS = 200
SHARES = (0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0, 2.0)


@pytest.mark.parametrize("seed", range(NUM_PLANS))
def test_a_plan_is_accepted_exactly_where_its_cells_can_be_placed(seed):
    chance = random.Random(seed)
    cluster, streamed = drawn_cluster(chance), chance.random() < 0.3
    arms = [drawn_arm(chance, number) for number in range(chance.randint(1, 3))]
    asked = [demand(arm, cluster, streamed=streamed) for arm in arms]
    possible = all(any(places(nodes, wanted) for nodes in shapes(cluster)) for wanted in asked)
    assert accepted(arms, cluster, streamed=streamed) == possible


def test_the_random_plans_are_of_both_kinds():
    outcomes = []
    for seed in range(NUM_PLANS):
        chance = random.Random(seed)
        cluster, streamed = drawn_cluster(chance), chance.random() < 0.3
        arms = [drawn_arm(chance, number) for number in range(chance.randint(1, 3))]
        outcomes.append(accepted(arms, cluster, streamed=streamed))
    assert 50 < sum(outcomes) < 150


def accepted(arms, cluster, *, streamed):
    """Whether the planner takes the arms; what it refuses, it refuses with a remedy."""
    remedy = None
    experiment = Experiment("random", "Random", rotating(3), tuple(arms), ("auc",))
    try:
        planner.check_plan(
            experiment, cluster, size="laptop", streamed=streamed, free_bytes=1 << 40,
            out=Path("out"),
        )  # fmt: skip
    except PlanError as error:
        remedy = str(error).split("; ")[-1]
    if remedy is not None:
        assert remedy.startswith(("use --set", "add a node", "allow ", "start Ray"))
        return False
    assert planner.max_concurrent_trials(experiment, cluster, streamed=streamed) >= 1
    return True


def drawn_cluster(chance):
    nodes = tuple(drawn_node(chance) for _ in range(chance.randint(1, 3)))
    kinds = tuple(
        NodeType(drawn_node(chance, f"kind{n}"), num_addable=chance.randint(0, 2), max_nodes=2)
        for n in range(chance.choice((0, 0, 1, 2)))
    )
    return Cluster(nodes, kinds, max_added=chance.choice((None, 0, 1, 2, 3)))


def drawn_node(chance, kind=""):
    return Node(chance.choice((0, 0, 1, 1, 2, 3)), chance.choice((0, 0, 0, 1, 2)), kind=kind)


def drawn_arm(chance, number):
    workers, gpus = chance.choice((1, 1, 1, 2, 3, 4)), chance.choice(SHARES)
    recipe = Recipe(epochs=1, batch=8, lr=0.1, workers=workers, gpus=gpus)
    return Arm(f"arm {number}", partial(IntensityFeatures), recipe)


def demand(arm, cluster, *, streamed):
    """Processes of a cell as (CPUs, share of a GPU): workers, and a task for their data."""
    any_gpu = any(node.gpus for node in cluster.nodes) or any(
        node.gpus for nodes in shapes(cluster) for node in nodes
    )
    workers = [(1, arm.recipe.gpus if any_gpu else 0.0)] * arm.recipe.workers
    return workers + [(1, 0.0)] * streamed


def shapes(cluster) -> Iterator[list[Node]]:
    """Every set of nodes that the cluster may have."""
    for counts in itertools.product(*(range(kind.num_addable + 1) for kind in cluster.node_types)):
        if cluster.max_added is None or sum(counts) <= cluster.max_added:
            added = [[k.node] * n for k, n in zip(cluster.node_types, counts, strict=True)]
            yield [*cluster.nodes, *itertools.chain(*added)]


def places(nodes: list[Node], wanted: list[tuple[int, float]]) -> bool:
    """Whether all processes fit at once, by trying every node and GPU for each in turn."""
    return _put(
        [int(node.cpus) for node in nodes], [[1.0] * int(node.gpus) for node in nodes], wanted
    )


def _put(cpus: list[int], gpus: list[list[float]], wanted: list[tuple[int, float]]) -> bool:
    if not wanted:
        return True
    (cpu, share), *rest = wanted
    tried = set()
    for node in range(len(cpus)):
        state = (cpus[node], tuple(sorted(gpus[node])))
        if cpus[node] < cpu or state in tried:
            continue
        tried.add(state)
        for left in _taken(gpus[node], share):
            before = gpus[node]
            cpus[node], gpus[node] = cpus[node] - cpu, left
            if _put(cpus, gpus, rest):
                return True
            cpus[node], gpus[node] = cpus[node] + cpu, before
    return False


def _taken(gpus: list[float], share: float) -> Iterator[list[float]]:
    """What is left of a node's GPUs by every way to take a share: of one, or so many whole."""
    if share > 1:
        whole = [i for i, left in enumerate(gpus) if left == 1]
        if len(whole) >= share:
            yield [0.0 if i in whole[: int(share)] else left for i, left in enumerate(gpus)]
    elif share == 0:
        yield gpus
    else:
        for i, left in enumerate(gpus):
            if left + 1e-9 >= share:
                yield [*gpus[:i], left - share, *gpus[i + 1 :]]
