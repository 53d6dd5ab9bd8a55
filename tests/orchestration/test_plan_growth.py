"""How far a cluster may grow is read from its autoscaler's limits, and what is up is counted."""

from pathlib import Path

import pytest
import yaml

from lus_ray.orchestration.cluster import autoscaler
from lus_ray.orchestration.cluster import resources as nodes
from lus_ray.orchestration.cluster.autoscaler import AutoscalingLimits, limits_from_config
from lus_ray.orchestration.cluster.resources import Node

CLUSTER = {
    "head_node_type": "head",
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 0, "driver": 4}, "max_workers": None},
        "worker_gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4},
        "worker_cpu": {"resources": {"CPU": 8}, "max_workers": None},
    },
}
HEAD = {
    "NodeID": "0",
    "Labels": {},
    "Resources": {autoscaler.HEAD: 1.0, "driver": 4.0, "memory": 9.0},
}


def up(number, resources, label=None):
    labels = {"ray.io/node-group": label} if label else {}
    return {"NodeID": str(number), "Labels": labels, "Resources": {"memory": 9.0, **resources}}


def test_kinds_have_their_own_limit_or_that_of_all_workers():
    limits = limits_from_config(CLUSTER, num_workers=0)
    assert {name: kind.most for name, kind in limits.kinds.items()} == {
        "head": 0, "worker_gpu": 4, "worker_cpu": 6,
    }  # fmt: skip
    assert limits.budget == 6
    assert not limits.unknown


def test_nodes_that_are_up_are_taken_off_the_limits():
    alive = [HEAD, up(1, {"CPU": 8.0, "GPU": 1.0}), up(2, {"CPU": 8.0}, "worker_cpu")]
    cluster = nodes.build_cluster(alive, limits_from_config(CLUSTER, num_workers=2))
    assert [(kind.node.kind, kind.up, kind.more) for kind in cluster.kinds] == [
        ("worker_gpu", 1, 3), ("worker_cpu", 1, 5),
    ]  # fmt: skip
    assert cluster.budget == 4
    assert (cluster.cpus, cluster.gpus, cluster.slots) == (48, 4, 48)
    assert cluster.nodes[0].drivers == 4


def test_a_cluster_without_an_autoscaler_is_what_it_is():
    cluster = nodes.build_cluster([HEAD, up(1, {"CPU": 2.0})], AutoscalingLimits())
    assert cluster.kinds == ()
    assert cluster.cpus == 2


def test_hosts_of_ones_own_that_have_not_joined_leave_the_end_open():
    kinds = {"local.cluster.node": {"resources": {}, "max_workers": 2}}
    config = {"available_node_types": kinds, "max_workers": 2, "head_node_type": None}
    assert limits_from_config(config, num_workers=1).unknown
    assert not limits_from_config(config, num_workers=2).unknown


@pytest.mark.parametrize(
    ("gpus", "fit"),
    [(1 / 3, 6), (0.3, 6), (0.6, 2), (1.0, 2), (2.0, 1), (1.5, 0), (0.0, 8), (0.25, 8)],
)
def test_a_share_of_a_gpu_never_spans_two(gpus, fit):
    assert Node(8, 2).workers(gpus) == fit


def test_the_shipped_cluster_grows_from_its_head_alone():
    shipped = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
    types = autoscaler._kinds(shipped["available_node_types"])
    limits = limits_from_config({**shipped, "available_node_types": types}, num_workers=0)
    cluster = nodes.build_cluster([HEAD], limits)
    assert cluster.gpus > 0
    assert cluster.fits(2, 1.0, 1)
