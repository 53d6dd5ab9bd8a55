"""Sums over the workers that share a batch.

Why: workers average their gradients, which is right for means over samples alone. A ratio of two
sums, such as Dice, is that of the whole batch only if both sums run over all workers.
"""

from torch import Tensor, distributed


def count_workers() -> int:
    """Processes that train together; 1 without a process group."""
    is_group = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if is_group else 1


def sum_over_workers(values: Tensor) -> Tensor:
    """The sum over all workers.

    Its gradient is that of the worker's own share times their number, as they average gradients.
    """
    workers = count_workers()
    if workers == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total + workers * (values - values.detach())


def mean_over_workers(values: Tensor) -> Tensor:
    return sum_over_workers(values) / count_workers()
