"""The resources of a cluster: its nodes, the nodes that an autoscaler may add, and what fits.

Why nodes and not sums: a worker runs on one node with its CPU and its share of a GPU together, and
a share never spans two GPUs. Four nodes of one CPU are not a node of four.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from lus_ray.orchestration.cluster import autoscaler, ray_private

UNITS = 10_000
"""Ray counts resources in ten-thousandths."""
DRIVER = "driver"
"""The custom resource with which a cluster limits its campaigns."""


@dataclass(frozen=True)
class Node:
    """Resources of one node; memory and object store in bytes, `kind` is its node type."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 2.0**30
    object_store: float = 0.0
    kind: str = ""

    @staticmethod
    def from_resources(
        resources: Mapping[str, float], kind: str = "", *, memory: float = 0.0
    ) -> "Node":
        """From Ray's resources of a node; `memory` in bytes if they name none."""
        return Node(
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
            resources.get("memory", memory),
            resources.get("object_store_memory", 0.0),
            kind,
        )

    @property
    def slots(self) -> int:
        """Processes of one CPU each."""
        return int((self.cpus * UNITS + 0.5) // UNITS)

    def count_workers(self, gpus: float) -> int:
        """Workers with one CPU and this share of a GPU each that fit side by side."""
        if not gpus:
            return self.slots
        if gpus > 1:
            return min(self.slots, int(self.gpus // gpus)) if gpus == int(gpus) else 0
        units = max(1, int(gpus * UNITS + 1e-6))  # Ray truncates
        part = self.gpus - int(self.gpus)
        rest = int((part * UNITS + 0.5) // units)
        return min(self.slots, int(self.gpus) * (UNITS // units) + rest)


@dataclass(frozen=True)
class NodeType:
    """A node type of which an autoscaler may add `num_addable` nodes, up to `max_nodes` in all."""

    node: Node
    num_addable: int
    max_nodes: int
    num_up: int = 0


@dataclass(frozen=True)
class Cluster:
    """The nodes that are up and the types that may be added, at most `max_added` nodes in all.

    `limits_unknown` if the limits of its autoscaler cannot be read; nothing is refused then.
    """

    nodes: tuple[Node, ...]
    node_types: tuple[NodeType, ...] = ()
    max_added: int | None = None
    limits_unknown: bool = False

    @staticmethod
    def current() -> "Cluster":
        alive = [node for node in ray.nodes() if node["Alive"]]
        return build_cluster(alive, autoscaler.read_limits(alive))

    @property
    def cpus(self) -> float:
        """At full size, like `gpus` and `slots`."""
        return self._sum_at_full_size(lambda node: node.cpus)

    @property
    def gpus(self) -> float:
        return self._sum_at_full_size(lambda node: node.gpus)

    @property
    def slots(self) -> int:
        return int(self._sum_at_full_size(lambda node: node.slots))

    @property
    def object_store(self) -> float:
        """Bytes that can be shared with every node that is up: the smallest object store."""
        return min((node.object_store for node in self.nodes), default=0.0)

    def count_workers(self, gpus: float) -> int:
        """Workers with one CPU and this share of a GPU each that run at once at full size."""
        return int(self._sum_at_full_size(lambda node: node.count_workers(gpus)))

    @property
    def most_gpus_of_a_node(self) -> int:
        added = [t.node for t in self.node_types if t.num_addable]
        return max((node.count_workers(1.0) for node in (*self.nodes, *added)), default=0)

    def count_cells(self, workers: int, gpus: float, *, on_one_node: bool) -> int:
        """Cells of so many workers that run at once at full size."""
        if not on_one_node:
            return self.count_workers(gpus) // workers
        return int(self._sum_at_full_size(lambda node: node.count_workers(gpus) // workers))

    def can_fit(self, workers: int, gpus: float, data_cpus: int) -> bool:
        """Whether so many workers with this share of a GPU fit beside `data_cpus` processes."""
        every_node = (*self.nodes, *(node_type.node for node_type in self.node_types))
        if not any(node.memory >= 1 for node in every_node):
            return False  # their driver needs no CPU, but a node
        slots = workers + data_cpus
        start = (
            min(workers, sum(node.count_workers(gpus) for node in self.nodes)),
            min(slots, sum(node.slots for node in self.nodes)),
        )
        reached = {start: 0}  # (workers, processes) that fit -> fewest nodes added for them
        max_added = math.inf if self.max_added is None else self.max_added
        for node_type in self.node_types:
            more_workers, more_slots = node_type.node.count_workers(gpus), node_type.node.slots
            for _ in range(min(node_type.num_addable, slots) if more_slots else 0):
                before = dict(reached)
                for (fitting, running), added in before.items():
                    new = (min(workers, fitting + more_workers), min(slots, running + more_slots))
                    if added < max_added and added + 1 < reached.get(new, math.inf):
                        reached[new] = added + 1
                if reached == before:
                    break
        return (workers, slots) in reached

    def describe(self) -> str:
        """Such as "2 CPUs and 1 GPU on 2 nodes, and may add 4 worker_gpu"."""
        cpus, gpus = sum(node.cpus for node in self.nodes), sum(node.gpus for node in self.nodes)
        text = f"{cpus:g} CPU{'s' * (cpus != 1)}"
        text += f" and {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else ""
        text += f" on {len(self.nodes)} nodes" if len(self.nodes) > 1 else ""
        added = [f"{t.num_addable} {t.node.kind}" for t in self.node_types if t.num_addable]
        return text + (f", and may add {' and '.join(added)}" if added else "")

    def _sum_at_full_size(self, count: Callable[[Node], float]) -> float:
        added = (count(t.node) for t in self.node_types for _ in range(t.num_addable))
        best = sorted(added, reverse=True)[: self.max_added]
        return float(sum(map(count, self.nodes)) + sum(best))


def build_cluster(
    alive: Sequence[Mapping[str, Any]], limits: autoscaler.AutoscalingLimits
) -> Cluster:
    kinds = [_node_type(node, limits) for node in alive]
    nodes = tuple(map(Node.from_resources, [node["Resources"] for node in alive], kinds))
    node_types = tuple(
        NodeType(
            Node.from_resources(limit.resources, name, memory=2.0**30),
            num_addable=max(0, limit.max_nodes - kinds.count(name)),
            max_nodes=limit.max_nodes,
            num_up=kinds.count(name),
        )
        for name, limit in limits.node_types.items()
        if limit.max_nodes
    )
    num_heads = sum(autoscaler.HEAD in node["Resources"] for node in alive)
    max_added = None
    if limits.max_workers is not None:
        max_added = max(0, limits.max_workers - (len(alive) - num_heads))
    return Cluster(nodes, node_types, max_added, limits.unknown)


def read_free_resources() -> tuple[Node, ...]:
    return tuple(map(Node.from_resources, ray_private.available_resources_per_node().values()))


def _node_type(node: Mapping[str, Any], limits: autoscaler.AutoscalingLimits) -> str:
    """The node's type by its label, or else the type with the same resources."""
    label = str((node.get("Labels") or {}).get("ray.io/node-group", ""))
    if label in limits.node_types or autoscaler.HEAD in node["Resources"]:
        return label
    for name, limit in limits.node_types.items():
        wanted = {key: v for key, v in limit.resources.items() if "memory" not in key}
        if wanted and all(node["Resources"].get(key, 0) == v for key, v in wanted.items()):
            return name
    return label
