"""The planner: cells that can never run are refused with the change that lets them run."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.resources import Cluster, Node, NodeType
from lus_ray.tasks import IntensityFeatures

GPU_TYPE = NodeType(Node(8, 1, kind="worker_gpu"), num_addable=4, max_nodes=4)
FROM_ZERO = Cluster((Node(0),), (GPU_TYPE,), max_added=8)


def may_add_one(cpus):
    """A head without CPUs that may add one node."""
    node_type = NodeType(Node(cpus, kind="worker_cpu"), num_addable=1, max_nodes=1)
    return Cluster((Node(0),), (node_type,), max_added=8)


def experiment(*recipes):
    arms = [Arm(f"arm {n}", partial(IntensityFeatures), recipe) for n, recipe in enumerate(recipes)]
    return Experiment("test", "Test", rotating(3), tuple(arms), ("auc",))


def recipe(workers=1, gpus=0.0):
    return Recipe(epochs=1, batch=2, lr=0.1, workers=workers, gpus=gpus)


def single(cpus, gpus=0):
    return Cluster((Node(cpus, gpus),))


def check(recipe, cluster, *, streamed=False, free=10**12, size="full"):
    study = experiment(recipe)
    resources = planner.plan_resources(study, cluster, size=size, streamed=streamed)
    return planner.check_plan(
        study, cluster, resources, size=size, streamed=streamed, free_bytes=free, out=Path("out")
    )


@settings(max_examples=40)
@given(st.integers(1, 16), st.integers(0, 16), st.booleans())
def test_the_remedy_of_a_refusal_works(workers, cpus, streamed):
    if workers + streamed <= cpus:
        assert isinstance(check(recipe(workers), single(cpus), streamed=streamed), list)
        return
    with pytest.raises(PlanError) as refused:
        check(recipe(workers), single(cpus), streamed=streamed)
    remedy = str(refused.value).split("; ")[-1]
    if "workers=" in remedy:
        check(recipe(int(remedy.rpartition("=")[2])), single(cpus), streamed=streamed)
    else:
        check(recipe(workers), single(int(remedy.rpartition(" ")[2])), streamed=streamed)


@pytest.mark.parametrize(
    ("recipe", "cluster", "options", "message"),
    [
        (recipe(2), single(2), {"streamed": True},
         r"2 CPUs for its workers and 1 for its data.*workers=1"),
        (recipe(2, 1.0), single(8, 1), {}, r"needs 2 GPUs.*workers=1"),
        (recipe(gpus=2.0), Cluster((Node(4, 1), Node(4, 1))), {}, r"arm\.recipe\.gpus=1$"),
        (recipe(gpus=1.0), Cluster((Node(8), Node(0, 4))), {},
         "add a node with 1 CPU and 1 GPU"),
        (recipe(), single(2), {"free": 1 << 20}, "1 MiB free"),
        (recipe(), single(0), {}, "the cluster has 0 CPUs; start Ray with --num-cpus 1"),
        (recipe(5, 1.0), FROM_ZERO, {}, r"needs 5 GPUs.*may add 4 worker_gpu; .*workers=4"),
        (recipe(3), may_add_one(2), {}, r"use --set arm\.recipe\.workers=2$"),
        (recipe(), may_add_one(1), {"streamed": True},
         r"allow 1 more worker_cpu \(max_workers\)$"),
        (recipe(8, 0.5), Cluster((Node(4, 1), Node(4, 1))), {},
         r"; use --set arm\.recipe\.workers=4$"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_refused_with_a_remedy(recipe, cluster, options, message):
    with pytest.raises(PlanError, match=message):
        check(recipe, cluster, **options)


def test_a_plan_that_fits_may_have_notes():
    assert check(recipe(2), single(2), size="laptop") == []
    assert check(recipe(gpus=1 / 3), single(4), size="laptop") == []
    assert "no GPU" in check(recipe(gpus=1 / 3), single(4))[0]
    (note,) = check(recipe(4, 1.0), FROM_ZERO)
    assert "waiting for the cluster to grow" in note
    assert "may add 4 worker_gpu" in note
    assert "limits are unknown" in check(recipe(8), Cluster((Node(1),), limits_unknown=True))[-1]


def test_a_cell_asks_for_gpus_only_if_the_cluster_may_have_some():
    for cluster, share in ((single(4, 1), 1 / 3), (single(4), 0), (FROM_ZERO, 1 / 3)):
        planned = planner.plan_resources(experiment(recipe(gpus=1 / 3)), cluster, size="full")
        assert planned["arm 0"].gpus_per_worker == share


@pytest.mark.parametrize(
    ("recipes", "cluster", "streamed", "trials"),
    [
        ([recipe()], single(4), False, 4),
        ([recipe()], single(4), True, 3),
        ([recipe(2)], single(5), False, 2),
        ([recipe(2), recipe()], single(2), False, 1),
        ([recipe(gpus=1.0)], single(8, 2), False, 2),
        ([recipe(gpus=1 / 3)], single(8, 2), False, 6),
        ([recipe(gpus=1.0), recipe()], single(8, 2), False, 8),
        ([recipe()], Cluster((Node(1.5), Node(1.5))), False, 2),
        ([recipe(gpus=1.0)], FROM_ZERO, False, 4),
        ([recipe()], FROM_ZERO, True, 31),
    ],
)
def test_as_many_trials_run_at_once_as_fit(recipes, cluster, streamed, trials):
    study = experiment(*recipes)
    resources = planner.plan_resources(study, cluster, size="full", streamed=streamed)
    assert planner.max_concurrent_trials(resources, cluster) == trials


@pytest.mark.parametrize(
    ("resources", "cluster", "free", "reason"),
    [
        ((1, 1.0, 0), single(4, 2), [Node(2, 0)], "1 GPU: 2 of 2 are in use by a/fold0"),
        ((1, 1.0, 0), FROM_ZERO, [Node(0)], "the cluster is adding nodes (worker_gpu 0/4 up)"),
        ((1, 1.0, 0), Cluster((Node(2, 1),), (NodeType(GPU_TYPE.node, 3, 4, 1),)), [Node(1, 0)],
         "1 of 1 are in use by a/fold0; the cluster is adding nodes (worker_gpu 1/4 up)"),
        ((2, 0.0, 1), single(4), [Node(1)], "3 CPUs: 3 of 4 are in use by a/fold0"),
        ((4, 0.0, 0), single(2), [Node(2)], "4 CPUs for its workers: the cluster has 2 CPUs"),
        ((1, 0.0, 0), single(2), [Node(1)], "resources are free"),
        ((1, 0.0, 0), single(2), [Node(0.5), Node(0.5)],
         "1 CPU: 1 are free, but on no single node"),
    ],
)  # fmt: skip
def test_what_a_cell_waits_for_is_explained(resources, cluster, free, reason):
    wanted = planner.CellResources(*resources)
    assert reason in planner.explain_wait(wanted, cluster, free, ["a/fold0"])
