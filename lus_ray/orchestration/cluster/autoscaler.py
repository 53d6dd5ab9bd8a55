"""The node types and limits of a cluster's autoscaler.

Ray does not tell them to a driver. The autoscaler of `ray up` runs on the head and reads its
configuration from a file named on its command line; a managed cluster keeps it in its store.
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
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lus_ray.orchestration.cluster import ray_private

HEAD = "node:__internal_head__"
HEAD_TIMEOUT_S = 60
UNLIMITED = 1000
"""Stands for a node type without a limit."""


@dataclass(frozen=True)
class NodeTypeLimit:
    """Resources of a node type, and the most nodes of it that may run."""

    resources: Mapping[str, float]
    max_nodes: int


@dataclass(frozen=True)
class AutoscalingLimits:
    """Limits by node type; `max_workers` limits all workers together.

    `unknown` if an autoscaler runs, but its limits or the size of its nodes cannot be read.
    """

    node_types: Mapping[str, NodeTypeLimit] = field(default_factory=dict)
    max_workers: int | None = None
    unknown: bool = False


def read_limits(alive: Sequence[Mapping[str, Any]]) -> AutoscalingLimits:
    """The limits of the cluster that this process is connected to; `alive` are Ray's nodes."""
    if groups := ray_private.managed_node_groups():
        return limits_from_groups(groups)
    if os.environ.get("RAY_USAGE_STATS_KUBERAY_IN_USE") == "1":
        return AutoscalingLimits(unknown=True)  # the operator's autoscaler has its own container
    address = ray.get_runtime_context().gcs_address
    head = next((node["NodeID"] for node in alive if HEAD in node["Resources"]), None)
    is_head = head in (None, ray.get_runtime_context().get_node_id())
    try:
        config = read_local_config(address) if is_head else read_head_config(address, str(head))
    except RayError:
        return AutoscalingLimits(unknown=True)
    if config is None:
        return AutoscalingLimits()
    return limits_from_config(config, num_workers=len(alive) - 1)


@cache
def read_head_config(address: str, head: str) -> dict[str, Any] | None:
    """Run `read_local_config` on the head, a node ID; RayError if it does not answer."""
    on_head = NodeAffinitySchedulingStrategy(head, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(read_local_config)
    reference = task.options(scheduling_strategy=on_head).remote(address)
    config: dict[str, Any] | None = ray.get(reference, timeout=HEAD_TIMEOUT_S)
    return config


def read_local_config(address: str) -> dict[str, Any] | None:
    """Node types and limits of this machine's autoscaler for the cluster at host:port, if any."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        flags = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        port = flags.get("--gcs-address", "").rpartition(":")[2]
        # Compare ports: a machine has many host names, but two programs never share one port.
        if port == address.rpartition(":")[2] and "--autoscaling-config" in flags:
            config = yaml.safe_load(Path(flags["--autoscaling-config"]).expanduser().read_text())
            types = {
                name: {key: kind.get(key) for key in ("resources", "max_workers")}
                for name, kind in (config.get("available_node_types") or {}).items()
            }
            # Nothing else: addresses and keys stay on the head.
            limits = {key: config.get(key) for key in ("head_node_type", "max_workers")}
            return {"available_node_types": types, **limits}
    return None


def limits_from_config(config: Mapping[str, Any], *, num_workers: int) -> AutoscalingLimits:
    """Limits from an autoscaler's configuration; `num_workers` nodes run besides the head."""
    limits, max_workers = {}, config.get("max_workers")
    for name, kind in (config["available_node_types"] or {}).items():
        max_nodes = kind["max_workers"]
        if max_nodes is None:
            max_nodes = 0 if name == config.get("head_node_type") else (max_workers or 0)
        limits[name] = NodeTypeLimit(kind["resources"] or {}, int(max_nodes))
    # On-premises hosts are listed without resources, which Ray detects when they join.
    has_unsized = any(limit.max_nodes and not limit.resources for limit in limits.values())
    sized = {name: limit for name, limit in limits.items() if limit.resources}
    unknown = has_unsized and num_workers < (max_workers or UNLIMITED)
    return AutoscalingLimits(sized, max_workers, unknown=unknown)


def limits_from_groups(groups: Sequence[Any]) -> AutoscalingLimits:
    """Limits from the node groups of a managed cluster; a count of -1 has no limit."""
    limits = {}
    for group in groups:
        max_nodes = UNLIMITED if group.max_count < 0 else group.max_count
        limits[group.name] = NodeTypeLimit(dict(group.resources), max_nodes)
    return AutoscalingLimits(limits)
