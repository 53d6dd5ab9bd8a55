"""Clusters of several nodes on this machine, and what a campaign that ended still holds of one."""

import contextlib
import os
import time
from collections.abc import Iterator

import ray
from ray._private import state
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from tests.orchestration.faults.command import AS_NICE

OF_THE_CLUSTER = ("_AutoscalingCoordinatorActor",)
"""Ray Train and Ray Data make one a cluster, which serves every later driver and outlives each."""


@contextlib.contextmanager
def cluster(nodes: tuple[int, ...]) -> Iterator[tuple[str | None, int | None]]:
    """A cluster of so many CPUs a node: its address, and the raylet of its last node."""
    if not nodes:
        yield None, None
        return
    before = dict(os.environ)
    os.environ.update(AS_NICE)
    given = {"num_cpus": nodes[0], "include_dashboard": False}
    there = Cluster(initialize_head=True, head_node_args=given)
    try:
        last = there.head_node
        for num_cpus in nodes[1:]:
            last = there.add_node(num_cpus=num_cpus)
        there.wait_for_nodes()
        yield there.address, last.all_processes["raylet"][0].process.pid
    finally:
        there.shutdown()
        os.environ.clear()
        os.environ.update(before)


def leftovers(address: str | None) -> list[str]:
    """What a campaign that ended still holds of a cluster."""
    if address is None:
        return []
    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    try:
        deadline = time.monotonic() + 15
        while (left := _find_leftovers()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left
    finally:
        ray.shutdown()


def _find_leftovers() -> list[str]:
    alive = (a for a in state.actors().values() if a["State"] != "DEAD")
    actors = [a for a in alive if a["ActorClassName"] not in OF_THE_CLUSTER]
    groups = [g for g in placement_group_table().values() if g["state"] != "REMOVED"]
    left = [f"actor {actor['ActorClassName']}" for actor in actors]
    return left + [f"placement group {group['name']}" for group in groups]
