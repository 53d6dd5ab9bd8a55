"""The shape of a cluster: its nodes, the nodes that an autoscaler may add, and what fits on them.

Why shapes and not sums: a worker runs on one node, with its CPU and its share of a GPU together,
and a share never spans two GPUs. Four nodes of one CPU are no node of four.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state

from lus_ray.orchestration.cluster import autoscaler

UNITS = 10_000
"""Ray counts resources in ten-thousandths."""
DRIVER = "driver"
"""The custom resource that a cluster declares to cap its campaigns."""


@dataclass(frozen=True)
class Node:
    """What one node offers: CPUs, GPUs, memory and object store in bytes, places for campaigns.

    `kind` is its node type, where the cluster has types.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 2.0**30
    object_store: float = 0.0
    drivers: float = 0.0
    kind: str = ""

    @staticmethod
    def from_resources(
        resources: Mapping[str, float], kind: str = "", *, memory: float = 0.0
    ) -> "Node":
        """From Ray's resources of a node; `memory` in bytes where they name none."""
        return Node(
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            memory=resources.get("memory", memory),
            object_store=resources.get("object_store_memory", 0.0),
            drivers=resources.get(DRIVER, 0.0),
            kind=kind,
        )

    @property
    def slots(self) -> int:
        """Processes of one CPU each."""
        return _whole(self.cpus)

    def workers(self, gpus: float) -> int:
        """How many workers with one CPU and this share of a GPU each fit side by side."""
        if not gpus:
            return self.slots
        if gpus > 1:
            return min(self.slots, int(self.gpus // gpus)) if gpus == int(gpus) else 0
        units = max(1, int(gpus * UNITS + 1e-6))  # Ray cuts the rest off
        part = self.gpus - int(self.gpus)
        rest = int((part * UNITS + 0.5) // units)
        return min(self.slots, int(self.gpus) * (UNITS // units) + rest)


@dataclass(frozen=True)
class NodeType:
    """A node type of which an autoscaler may still add `more` nodes; `up` of `most` are there."""

    node: Node
    more: int
    most: int
    up: int = 0


@dataclass(frozen=True)
class Cluster:
    """The nodes there are and the kinds that may be added, no more than `budget` in all.

    `limits_unknown` where the limits of an autoscaler cannot be read; nothing is refused then.
    """

    nodes: tuple[Node, ...]
    kinds: tuple[NodeType, ...] = ()
    budget: int | None = None
    limits_unknown: bool = False

    @staticmethod
    def from_resources(resources: Mapping[str, float]) -> "Cluster":
        """A cluster of one node, from Ray's resources."""
        return Cluster((Node.from_resources(resources),))

    @staticmethod
    def current() -> "Cluster":
        """The cluster this process is connected to, as it is and as it may grow."""
        alive = [node for node in ray.nodes() if node["Alive"]]
        return build_cluster(alive, autoscaler.read_limits(alive))

    @property
    def cpus(self) -> float:
        """All CPUs when the cluster has build_cluster as far as it may."""
        return self._most(lambda node: node.cpus)

    @property
    def gpus(self) -> float:
        """All GPUs when the cluster has build_cluster as far as it may."""
        return self._most(lambda node: node.gpus)

    @property
    def slots(self) -> int:
        """Processes of one CPU each when the cluster has build_cluster as far as it may."""
        return int(self._most(lambda node: node.slots))

    @property
    def object_store(self) -> float:
        """Bytes that can be shared with every node there is: the smallest store of all."""
        return min((node.object_store for node in self.nodes), default=0.0)

    def workers(self, gpus: float) -> int:
        """How many workers with one CPU and this share of a GPU can ever run at once."""
        return int(self._most(lambda node: node.workers(gpus)))

    def fits(self, workers: int, gpus: float, data: int) -> bool:
        """Whether so many workers fit at once, beside `data` processes of one CPU.

        `gpus` is the share of a GPU of each worker. Their driver needs no CPU, but a node.
        """
        if not any(node.memory >= 1 for node in (*self.nodes, *(k.node for k in self.kinds))):
            return False
        slots = workers + data
        start = (
            min(workers, sum(node.workers(gpus) for node in self.nodes)),
            min(slots, sum(node.slots for node in self.nodes)),
        )
        reached = {start: 0}  # (workers, processes) that fit -> fewest nodes added for them
        budget = math.inf if self.budget is None else self.budget
        for kind in self.kinds:
            more, each = kind.node.workers(gpus), kind.node.slots
            for _ in range(min(kind.more, slots) if each else 0):
                before = dict(reached)
                for (fitting, running), added in before.items():
                    new = (min(workers, fitting + more), min(slots, running + each))
                    if added < budget and added + 1 < reached.get(new, math.inf):
                        reached[new] = added + 1
                if reached == before:
                    break
        return (workers, slots) in reached

    def describe(self) -> str:
        """What there is, in words: "2 CPUs and 1 GPU on 2 nodes, and may add 4 worker_gpu"."""
        cpus, gpus = (sum(getattr(n, name) for n in self.nodes) for name in ("cpus", "gpus"))
        text = f"{cpus:g} CPU{'s' * (cpus != 1)}"
        text += f" and {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else ""
        text += f" on {len(self.nodes)} nodes" if len(self.nodes) > 1 else ""
        added = [f"{kind.more} {kind.node.kind}" for kind in self.kinds if kind.more]
        return text + (f", and may add {' and '.join(added)}" if added else "")

    def _most(self, count: Any) -> float:
        """Sum of a count over the nodes there are and the best of those that may be added."""
        added = sorted((count(k.node) for k in self.kinds for _ in range(k.more)), reverse=True)
        return float(sum(map(count, self.nodes)) + sum(added[: self.budget]))


def build_cluster(
    alive: Sequence[Mapping[str, Any]], limits: autoscaler.AutoscalingLimits
) -> Cluster:
    """A cluster from Ray's list of living nodes and the limits of its autoscaler."""
    kinds: dict[str, str] = {node["NodeID"]: _kind(node, limits) for node in alive}
    nodes = tuple(Node.from_resources(n["Resources"], kinds[n["NodeID"]]) for n in alive)
    up = {name: sum(kind == name for kind in kinds.values()) for name in limits.kinds}
    added = tuple(
        NodeType(
            Node.from_resources(limit.resources, name, memory=2.0**30),
            more=max(0, limit.most - up[name]),
            most=limit.most,
            up=up[name],
        )
        for name, limit in limits.kinds.items()
        if limit.most
    )
    heads = sum("node:__internal_head__" in node["Resources"] for node in alive)
    workers = len(alive) - heads
    budget = None if limits.budget is None else max(0, limits.budget - workers)
    return Cluster(nodes, added, budget, limits.unknown)


def read_free_resources() -> tuple[Node, ...]:
    """What every node of the cluster has free now."""
    return tuple(
        Node.from_resources(left) for left in state.available_resources_per_node().values()
    )


def _kind(node: Mapping[str, Any], limits: autoscaler.AutoscalingLimits) -> str:
    """The node type of a node: as its label says, or the one with its resources."""
    label = str((node.get("Labels") or {}).get("ray.io/node-group", ""))
    if label in limits.kinds or "node:__internal_head__" in node["Resources"]:
        return label
    for name, limit in limits.kinds.items():
        wanted = {key: v for key, v in limit.resources.items() if "memory" not in key}
        if wanted and all(node["Resources"].get(key, 0) == v for key, v in wanted.items()):
            return name
    return label


def _whole(number: float) -> int:
    return int((number * UNITS + 0.5) // UNITS)
