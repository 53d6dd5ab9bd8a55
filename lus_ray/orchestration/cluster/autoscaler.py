"""How far a cluster may grow: the node types and limits of its autoscaler.

Ray does not tell a driver. The autoscaler of `ray up` runs on the head with its configuration in
a file, which its command line names; a managed cluster keeps the same in the cluster's store.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray._private.state import state
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

HEAD = "node:__internal_head__"
ASK_SECONDS = 60
MANY = 1000
"""Stands for a kind without a limit."""


@dataclass(frozen=True)
class NodeTypeLimit:
    """Resources of a node type, and how many nodes of it there may be."""

    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True)
class AutoscalingLimits:
    """Every node type that may be added; `budget` is the limit of all workers together.

    `unknown` where an autoscaler is there but its limits, or the size of its nodes, are not told.
    """

    kinds: Mapping[str, NodeTypeLimit] = field(default_factory=dict)
    budget: int | None = None
    unknown: bool = False


def read_limits(alive: Sequence[Mapping[str, Any]]) -> AutoscalingLimits:
    """The limits of the cluster that this process is connected to; `alive` are Ray's nodes."""
    if (managed := state.get_cluster_config()) is not None and managed.node_group_configs:
        return limits_from_groups(managed.node_group_configs)
    if os.environ.get("RAY_USAGE_STATS_KUBERAY_IN_USE") == "1":
        return AutoscalingLimits(
            unknown=True
        )  # the operator's autoscaler lives in a container of its own
    address = ray.get_runtime_context().gcs_address
    head = next((node["NodeID"] for node in alive if HEAD in node["Resources"]), None)
    near = head in (None, ray.get_runtime_context().get_node_id())
    try:
        config = read_local_config(address) if near else read_head_config(address, str(head))
    except RayError:
        return AutoscalingLimits(unknown=True)
    return (
        AutoscalingLimits()
        if config is None
        else limits_from_config(config, num_workers=len(alive) - 1)
    )


@cache
def read_head_config(address: str, head: str) -> dict[str, Any] | None:
    """What `read_local_config` finds on the head, whose node has this identity.

    Raises:
        RayError: the head does not answer.
    """
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    ask = ray.remote(num_cpus=0, max_retries=0)(read_local_config)
    found = ask.options(scheduling_strategy=there).remote(address)
    config: dict[str, Any] | None = ray.get(found, timeout=ASK_SECONDS)
    return config


def read_local_config(address: str) -> dict[str, Any] | None:
    """Node types and limits in the file of this machine's autoscaler; None where none runs.

    `address` is that of the cluster, host and port.
    """
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        told = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        port = told.get("--gcs-address", "").rpartition(":")[2]
        # A machine has many names, and two programs never one port.
        if port == address.rpartition(":")[2] and "--autoscaling-config" in told:
            file = Path(told["--autoscaling-config"]).expanduser()
            config = yaml.safe_load(file.read_text())
            names = ("available_node_types", "head_node_type", "max_workers")
            return {
                name: config.get(name) if name != names[0] else _kinds(config.get(name) or {})
                for name in names
            }
    return None


def limits_from_config(config: Mapping[str, Any], *, num_workers: int) -> AutoscalingLimits:
    """Limits from the configuration of an autoscaler; `num_workers` nodes besides the head run."""
    kinds, budget = {}, config.get("max_workers")
    for name, kind in (config["available_node_types"] or {}).items():
        most = kind["max_workers"]
        if most is None:
            most = 0 if name == config.get("head_node_type") else (budget or 0)
        kinds[name] = NodeTypeLimit(kind["resources"], int(most))
    # Hosts of one's own are listed without their resources, which Ray finds out when they join.
    bare = any(limit.most and not limit.resources for limit in kinds.values())
    sized = {name: limit for name, limit in kinds.items() if limit.resources}
    return AutoscalingLimits(sized, budget, unknown=bare and num_workers < (budget or MANY))


def limits_from_groups(groups: Sequence[Any]) -> AutoscalingLimits:
    """Limits from the node groups of a managed cluster; a count of -1 has no limit."""
    counted = {
        group.name: NodeTypeLimit(
            dict(group.resources), MANY if group.max_count < 0 else group.max_count
        )
        for group in groups
    }
    return AutoscalingLimits(counted)


def _kinds(types: Mapping[str, Any]) -> dict[str, Any]:
    """Of every node type what a planner needs; addresses and keys stay where they are."""
    return {
        name: {"resources": kind.get("resources") or {}, "max_workers": kind.get("max_workers")}
        for name, kind in types.items()
    }
