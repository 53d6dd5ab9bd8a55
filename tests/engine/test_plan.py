"""The planner: what can never run is refused with the change that lets it run."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.engine import plan
from lus_ray.engine.plan import Cluster
from lus_ray.errors import ArmError, PlanError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import Fold, rotating
from lus_ray.tasks import Intensity

PLENTY = 10**12


def experiment(*recipes):
    arms = tuple(Arm(f"arm {n}", partial(Intensity), recipe) for n, recipe in enumerate(recipes))
    return Experiment("test", "Test", rotating(3), arms, ("auc",))


def recipe(workers=1, gpus=0.0):
    return Recipe(epochs=1, batch=2, lr=0.1, workers=workers, gpus=gpus)


def check(wanted, cluster, *, streamed=False, free=PLENTY, size="full"):
    return plan.check(
        experiment(wanted), cluster, size=size, streamed=streamed, free_bytes=free, out=Path("out")
    )


@given(st.integers(1, 16), st.integers(1, 16), st.booleans())
def test_a_plan_is_refused_exactly_where_it_could_never_run(workers, cpus, streamed):
    needed = workers + (1 if workers > 1 or streamed else 0)
    if needed <= cpus:
        assert isinstance(check(recipe(workers), Cluster(cpus), streamed=streamed), list)
        return
    with pytest.raises(PlanError) as refused:
        check(recipe(workers), Cluster(cpus), streamed=streamed)
    fix = str(refused.value).split("; ")[-1]
    if "workers=" in fix:
        smaller = int(fix.rpartition("=")[2])
        check(recipe(smaller), Cluster(cpus), streamed=streamed)
    else:
        check(recipe(workers), Cluster(int(fix.rpartition(" ")[2])), streamed=streamed)


def test_two_workers_and_their_data_do_not_fit_two_cpus():
    with pytest.raises(PlanError, match=r"2 CPUs for its workers and 1 for its data.*workers=1"):
        check(recipe(2), Cluster(2))


def test_a_share_of_a_gpu_is_asked_for_only_where_there_is_one():
    arm = experiment(recipe(gpus=1 / 3)).arms[0]
    assert plan.need(arm, Cluster(4, gpus=1), streamed=False).gpus_per_worker == 1 / 3
    assert plan.need(arm, Cluster(4), streamed=False).gpus_per_worker == 0
    assert "no GPU" in check(recipe(gpus=1 / 3), Cluster(4))[0]
    assert check(recipe(gpus=1 / 3), Cluster(4), size="laptop") == []


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(PlanError, match="needs 2 GPUs"):
        check(recipe(workers=2, gpus=1.0), Cluster(8, gpus=1))


def test_a_full_disk_is_refused_before_anything_starts():
    with pytest.raises(PlanError, match="1 MiB free"):
        check(recipe(), Cluster(2), free=1 << 20)


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(PlanError, match="no CPU"):
        check(recipe(), Cluster(0))


def test_two_arms_that_share_a_folder_are_refused():
    arms = (Arm("a b", partial(Intensity)), Arm("a-b", partial(Intensity)))
    with pytest.raises(ArmError, match="share a folder"):
        plan.cells(Experiment("t", "T", rotating(3), arms, ()), [Fold(0, ("p",))])
