"""Shares of GPUs: Ray places as many workers on a node as the planner counts, and no more."""

import pytest
from ray.util.placement_group import placement_group, remove_placement_group

from lus_ray.orchestration.cluster.resources import Cluster, Node
from tests.conftest import local_cluster


@pytest.mark.parametrize(
    ("gpus", "num_workers"),
    [(1 / 3, 6), (0.3, 6), (0.6, 2), (1.0, 2), (2.0, 1), (1.5, 0), (0.0, 8), (0.25, 8)],
)
def test_a_share_of_a_gpu_never_spans_two(gpus, num_workers):
    assert Node(8, 2).count_workers(gpus) == num_workers


@pytest.fixture(scope="module")
def two_gpus():
    with local_cluster(num_cpus=16, num_gpus=2):
        yield Cluster.current().nodes[0]


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.parametrize("share", [1.0, 0.6, 0.5, 1 / 3, 0.3, 1 / 6])
def test_ray_places_as_many_as_the_planner_counts(two_gpus, share):
    number = two_gpus.count_workers(share)
    groups = [placement_group([{"CPU": 1, "GPU": share}]) for _ in range(number)]
    try:
        assert all(group.wait(30) for group in groups)
        groups.append(placement_group([{"CPU": 1, "GPU": share}]))
        assert not groups[-1].wait(0.5)
    finally:
        for group in groups:
            remove_placement_group(group)
