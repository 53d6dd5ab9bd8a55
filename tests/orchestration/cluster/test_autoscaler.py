"""The full size of a cluster follows from its autoscaler's limits and the nodes that are up."""

from pathlib import Path

import yaml

from lus_ray.orchestration.cluster import autoscaler
from lus_ray.orchestration.cluster.autoscaler import AutoscalingLimits, limits_from_config
from lus_ray.orchestration.cluster.resources import build_cluster

CONFIG = {
    "head_node_type": "head",
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 0, "driver": 4}, "max_workers": None},
        "worker_gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4},
        "worker_cpu": {"resources": {"CPU": 8}, "max_workers": None},
    },
}


def node(resources, label=None):
    labels = {"ray.io/node-group": label} if label else {}
    return {"NodeID": "1", "Labels": labels, "Resources": {"memory": 9.0, **resources}}


HEAD = node({autoscaler.HEAD: 1.0, "driver": 4.0})


def test_node_types_have_their_own_limit_or_that_of_all_workers():
    limits = limits_from_config(CONFIG, num_workers=0)
    assert {name: limit.max_nodes for name, limit in limits.node_types.items()} == {
        "head": 0, "worker_gpu": 4, "worker_cpu": 6,
    }  # fmt: skip
    assert limits.max_workers == 6
    assert not limits.unknown


def test_running_nodes_count_against_the_limits():
    alive = [HEAD, node({"CPU": 8.0, "GPU": 1.0}), node({"CPU": 8.0}, "worker_cpu")]
    cluster = build_cluster(alive, limits_from_config(CONFIG, num_workers=2))
    assert [(t.node.kind, t.num_up, t.num_addable) for t in cluster.node_types] == [
        ("worker_gpu", 1, 3), ("worker_cpu", 1, 5),
    ]  # fmt: skip
    assert cluster.max_added == 4
    assert (cluster.cpus, cluster.gpus, cluster.slots) == (48, 4, 48)
    cluster = build_cluster(alive, AutoscalingLimits())
    assert (cluster.node_types, cluster.cpus) == ((), 16)


def test_the_limits_are_unknown_until_all_own_hosts_have_joined():
    kinds = {"local.cluster.node": {"resources": {}, "max_workers": 2}}
    config = {"available_node_types": kinds, "max_workers": 2, "head_node_type": None}
    assert limits_from_config(config, num_workers=1).unknown
    assert not limits_from_config(config, num_workers=2).unknown


def test_the_shipped_cluster_grows_from_its_head():
    shipped = yaml.safe_load((Path(__file__).parents[3] / "cluster.yaml").read_text())
    for kind in shipped["available_node_types"].values():
        kind.setdefault("max_workers", None)
    cluster = build_cluster([HEAD], limits_from_config(shipped, num_workers=0))
    assert cluster.gpus > 0
    assert cluster.can_fit(2, 1.0, 1)
