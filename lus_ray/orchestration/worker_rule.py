"""How many workers train a cell on GPUs, and which share of a GPU each of them holds.

With w workers a step takes

    t(1) = step
    t(w) = max(fixed + launches, step / w + exchange + norms) + DDP_S
    exchange = max(0, 2 (w - 1) / w * gradient bytes / bandwidth - BACKWARD * step / w)

as gradients are exchanged during the backward pass. k cells on one GPU take
max(1, k * busy / step) times as long. A campaign of C cells lasts ceil(C / cells at a time) * t,
and one GPU for each cell is where the choice starts. A smaller share is taken if the campaign gets
shorter by a tenth. More workers are taken if every further GPU brings at least half of what the
first did, so that folds come before workers while there are more cells than GPUs.

Why 2 (w - 1) / w: every byte of a ring all-reduce crosses a link so often (NVIDIA nccl-tests,
PERFORMANCE.md). No constant below was measured with several GPUs here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lus_ray.orchestration.cluster.resources import Cluster
from lus_ray.training.step_cost import LAUNCH_S, StepCost

NODE_BANDWIDTH = 10e9
"""Bytes a second between the GPUs of a node: a third of PCIe 4 x16, so without NVLink."""
NETWORK_BANDWIDTH = 1e9
"""Bytes a second between nodes: 10 Gbit/s Ethernet at four fifths."""
BACKWARD = 2 / 3
"""Share of a step that is its backward pass: twice the arithmetic of the forward pass."""
COLLECTIVE_S = 20e-6
"""Seconds of an exchange of a few bytes between GPUs of a node."""
NORM_LAUNCHES, NORM_EXCHANGES = 8, 2
"""Further kernels and exchanges of a synchronised batch norm, both passes together."""
DDP_S = 1e-3
"""Seconds that DDP adds to a step in Python and for small exchanges, such as that of the loss."""
MAX_CELLS, MEMORY = 4, 0.8
"""Cells on one GPU at most, and the share of its memory that they may fill. Eight small U-Nets took
33 s where four took 19 s (`lus bench gpu`), so that more bring little."""
SHORTER, WORTH = 0.9, 0.5


@dataclass(frozen=True)
class Allocation:
    """What the workers of a cell hold; `on_one_node` where they have to be neighbours."""

    workers: int
    gpus: float
    on_one_node: bool
    step_s: float


def step_seconds(step: StepCost, workers: int, *, on_one_node: bool) -> float:
    """Seconds of a step with so many workers on whole GPUs."""
    if workers == 1:
        return step.step_s
    bandwidth = NODE_BANDWIDTH if on_one_node else NETWORK_BANDWIDTH
    own_s = step.step_s / workers
    gradients_s = 2 * (workers - 1) / workers * step.gradient_bytes / bandwidth
    exchange_s = max(0.0, gradients_s - BACKWARD * own_s)
    norms_s = step.num_norms * NORM_EXCHANGES * COLLECTIVE_S
    launches_s = step.num_norms * NORM_LAUNCHES * LAUNCH_S
    return max(step.fixed_s + launches_s, own_s + exchange_s + norms_s) + DDP_S


def allocate(
    step: StepCost, cluster: Cluster, *, num_cells: int, max_workers: int | None = None
) -> Allocation:
    """The rule above; the global batch is divisible by the workers."""
    best = Allocation(1, 1.0, True, step.step_s)
    best_s = _campaign_seconds(best, cluster, num_cells)
    for shared in _shares(step):
        if (seconds := _campaign_seconds(shared, cluster, num_cells)) < SHORTER * best_s:
            best, best_s = shared, seconds
    per_node = cluster.most_gpus_of_a_node
    for workers in range(2, min(max_workers or step.batch, int(cluster.gpus)) + 1):
        if step.batch % workers:
            continue
        on_one_node = workers <= per_node
        seconds = step_seconds(step, workers, on_one_node=on_one_node)
        more = Allocation(workers, 1.0, on_one_node, seconds)
        total_s = _campaign_seconds(more, cluster, num_cells)
        if best_s / total_s >= 1 + WORTH * (workers / (best.workers * best.gpus) - 1):
            best, best_s = more, total_s
    return best


def _shares(step: StepCost) -> Iterator[Allocation]:
    for number in range(2, MAX_CELLS + 1):
        if number * step.memory <= MEMORY:
            busy = step.busy_s / step.step_s if step.step_s else 0.0
            yield Allocation(1, 1 / number, True, step.step_s * max(1.0, number * busy))


def _campaign_seconds(chosen: Allocation, cluster: Cluster, num_cells: int) -> float:
    """Seconds for one step of every cell, as many cells at a time as fit."""
    at_a_time = cluster.count_cells(chosen.workers, chosen.gpus, on_one_node=chosen.on_one_node)
    return math.ceil(num_cells / at_a_time) * chosen.step_s if at_a_time else math.inf
