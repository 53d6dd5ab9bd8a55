"""Clusters of several nodes on this machine, and what a finished campaign still holds of one."""

import contextlib
import time
from collections.abc import Iterator

import pytest
import ray
from ray._private import state
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from tests.orchestration.faults.command import SAME_PRIORITY

SHARED_ACTORS = ("_AutoscalingCoordinatorActor",)
"""Ray Train and Ray Data start one per cluster, which serves every later driver."""


@contextlib.contextmanager
def cluster(nodes: tuple[int, ...]) -> Iterator[tuple[str | None, int | None]]:
    """A cluster of nodes with so many CPUs: its address, and the raylet of its last node."""
    if not nodes:
        yield None, None
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SAME_PRIORITY.items():
            patch.setenv(name, value)
        head = {"num_cpus": nodes[0], "include_dashboard": False}
        running = Cluster(initialize_head=True, head_node_args=head)
        try:
            last = running.head_node
            for num_cpus in nodes[1:]:
                last = running.add_node(num_cpus=num_cpus)
            running.wait_for_nodes()
            yield running.address, last.all_processes["raylet"][0].process.pid
        finally:
            running.shutdown()


def leftovers(address: str | None) -> list[str]:
    """Actors and placement groups that a cluster still has 15 s after a campaign."""
    if address is None:
        return []
    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    try:
        deadline = time.monotonic() + 15
        while (names := _list_held()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return names
    finally:
        ray.shutdown()


def _list_held() -> list[str]:
    actors = [a["ActorClassName"] for a in state.actors().values() if a["State"] != "DEAD"]
    groups = [g["name"] for g in placement_group_table().values() if g["state"] != "REMOVED"]
    return [name for name in actors if name not in SHARED_ACTORS] + groups
