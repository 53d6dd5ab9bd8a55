"""The planner: what can never run is refused with the change that lets it run."""

import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.errors import ArmError, PlanError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import Fold, rotating
from lus_ray.orchestration import planner
from lus_ray.orchestration.cluster.resources import Cluster, Node, NodeType
from lus_ray.tasks import IntensityFeatures

PLENTY = 10**12
FROM_ZERO = Cluster(
    (Node(0),), (NodeType(Node(8, 1, kind="worker_gpu"), num_addable=4, max_nodes=4),), max_added=8
)


def experiment(*recipes):
    arms = tuple(
        Arm(f"arm {n}", partial(IntensityFeatures), recipe) for n, recipe in enumerate(recipes)
    )
    return Experiment("test", "Test", rotating(3), arms, ("auc",))


def recipe(workers=1, gpus=0.0):
    return Recipe(epochs=1, batch=2, lr=0.1, workers=workers, gpus=gpus)


def one(cpus, gpus=0):
    return Cluster((Node(cpus, gpus),))


def check(wanted, cluster, *, streamed=False, free=PLENTY, size="full"):
    return planner.check_plan(
        experiment(wanted), cluster, size=size, streamed=streamed, free_bytes=free, out=Path("out")
    )


@given(st.integers(1, 16), st.integers(0, 16), st.booleans())
def test_a_plan_is_refused_exactly_where_it_could_never_run(workers, cpus, streamed):
    needed = workers + streamed
    if needed <= cpus:
        assert isinstance(check(recipe(workers), one(cpus), streamed=streamed), list)
        return
    with pytest.raises(PlanError) as refused:
        check(recipe(workers), one(cpus), streamed=streamed)
    fix = str(refused.value).split("; ")[-1]
    if "workers=" in fix:
        smaller = int(fix.rpartition("=")[2])
        check(recipe(smaller), one(cpus), streamed=streamed)
    else:
        check(recipe(workers), one(int(fix.rpartition(" ")[2])), streamed=streamed)


def test_two_workers_and_the_stream_that_feeds_them_do_not_fit_two_cpus():
    with pytest.raises(PlanError, match=r"2 CPUs for its workers and 1 for its data.*workers=1"):
        check(recipe(2), one(2), streamed=True)
    assert check(recipe(2), one(2), size="laptop") == []


def test_a_share_of_a_gpu_is_asked_for_only_where_there_is_one():
    arm = experiment(recipe(gpus=1 / 3)).arms[0]
    assert planner.required_resources(arm, one(4, gpus=1), streamed=False).gpus_per_worker == 1 / 3
    assert planner.required_resources(arm, one(4), streamed=False).gpus_per_worker == 0
    assert planner.required_resources(arm, FROM_ZERO, streamed=False).gpus_per_worker == 1 / 3
    assert "no GPU" in check(recipe(gpus=1 / 3), one(4))[0]
    assert check(recipe(gpus=1 / 3), one(4), size="laptop") == []


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(PlanError, match=r"needs 2 GPUs.*workers=1"):
        check(recipe(workers=2, gpus=1.0), one(8, gpus=1))


def test_a_share_that_no_node_has_is_refused_with_one_that_a_node_has():
    with pytest.raises(PlanError, match=r"arm\.recipe\.gpus=1$"):
        check(recipe(gpus=2.0), Cluster((Node(4, 1), Node(4, 1))))


def test_a_gpu_beside_no_cpu_is_refused_with_the_node_that_lacks():
    with pytest.raises(PlanError, match="add a node with 1 CPU and 1 GPU"):
        check(recipe(gpus=1.0), Cluster((Node(8), Node(0, 4))))


def test_a_full_disk_is_refused_before_anything_starts():
    with pytest.raises(PlanError, match="1 MiB free"):
        check(recipe(), one(2), free=1 << 20)


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(PlanError, match="the cluster has 0 CPUs; start Ray with --num-cpus 1"):
        check(recipe(), one(0))


def test_a_head_that_may_grow_is_feasible_and_says_that_it_waits():
    notes = check(recipe(workers=4, gpus=1.0), FROM_ZERO)
    assert "waiting for the cluster to grow" in notes[0]
    assert "may add 4 worker_gpu" in notes[0]


def test_what_the_limits_of_the_autoscaler_never_allow_is_refused():
    with pytest.raises(PlanError, match=r"needs 5 GPUs.*may add 4 worker_gpu; .*workers=4"):
        check(recipe(workers=5, gpus=1.0), FROM_ZERO)
    few = Cluster(
        (Node(0),), (NodeType(Node(2, kind="worker_cpu"), num_addable=1, max_nodes=1),), max_added=8
    )
    with pytest.raises(PlanError, match=r"use --set arm\.recipe\.workers=2$"):
        check(recipe(workers=3), few)
    tiny = Cluster(
        (Node(0),), (NodeType(Node(1, kind="worker_cpu"), num_addable=1, max_nodes=1),), max_added=8
    )
    with pytest.raises(PlanError, match=r"allow 1 more worker_cpu \(max_workers\)$"):
        check(recipe(), tiny, streamed=True)


def test_nothing_is_refused_where_the_autoscaler_tells_no_limits():
    assert "limits are unknown" in check(recipe(8), Cluster((Node(1),), limits_unknown=True))[-1]


@pytest.mark.parametrize(
    ("recipes", "cluster", "streamed", "trials"),
    [
        ([recipe()], one(4), False, 4),
        ([recipe()], one(4), True, 3),
        ([recipe(2)], one(5), False, 2),
        ([recipe(2), recipe()], one(2), False, 1),
        ([recipe(gpus=1.0)], one(8, 2), False, 2),
        ([recipe(gpus=1 / 3)], one(8, 2), False, 6),
        ([recipe(gpus=1.0), recipe()], one(8, 2), False, 8),
        ([recipe()], Cluster((Node(1.5), Node(1.5))), False, 2),
        ([recipe(gpus=1.0)], FROM_ZERO, False, 4),
        ([recipe()], FROM_ZERO, True, 31),
    ],
)
def test_so_many_trials_run_at_once(recipes, cluster, streamed, trials):
    assert planner.max_concurrent_trials(experiment(*recipes), cluster, streamed=streamed) == trials


@pytest.mark.parametrize(
    ("wanted", "cluster", "free", "reason"),
    [
        ((1, 1.0, 0), one(4, 2), Node(2, 0), "1 GPU: 2 of 2 are in use by a/fold0"),
        ((1, 1.0, 0), FROM_ZERO, Node(0), "the cluster is adding nodes (worker_gpu 0/4 up)"),
        (
            (1, 1.0, 0),
            Cluster((Node(2, 1),), (NodeType(Node(8, 1, kind="worker_gpu"), 3, 4, 1),)),
            Node(1, 0),
            "1 of 1 are in use by a/fold0; the cluster is adding nodes (worker_gpu 1/4 up)",
        ),
        ((2, 0.0, 1), one(4), Node(1), "3 CPUs: 3 of 4 are in use by a/fold0"),
        ((4, 0.0, 0), one(2), Node(2), "4 CPUs for its workers: the cluster has 2 CPUs"),
        ((1, 0.0, 0), one(2), Node(1), "resources are free"),
    ],
)
def test_what_a_cell_waits_for_is_told(wanted, cluster, free, reason):
    assert reason in planner.explain_wait(
        planner.CellResources(*wanted), cluster, [free], ["a/fold0"]
    )


def test_free_parts_of_cpus_on_different_nodes_are_told_apart():
    free = [Node(0.5), Node(0.5)]
    told = planner.explain_wait(planner.CellResources(1, 0.0, 0), one(2), free)
    assert told == "1 CPU: 1 are free, but on no single node"


def test_two_arms_that_share_a_folder_are_refused():
    arms = (Arm("a b", partial(IntensityFeatures)), Arm("a-b", partial(IntensityFeatures)))
    with pytest.raises(ArmError, match="share a folder"):
        planner.list_cells(Experiment("t", "T", rotating(3), arms, ()), [Fold(0, ("p",))])


def test_the_fix_of_a_refusal_is_one_option_or_one_node():
    with pytest.raises(PlanError) as refused:
        check(recipe(workers=8, gpus=0.5), Cluster((Node(4, 1), Node(4, 1))))
    assert re.search(r"; use --set arm\.recipe\.workers=4$", str(refused.value))
