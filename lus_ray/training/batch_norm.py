"""Estimate the running statistics of batch norms anew, once the weights are final.

Why: dropout in front of a batch norm raises the variance that training normalises by. Evaluation
has no dropout, so the running variance is too large for it, and the error grows from layer to layer
(Li et al. 2019, "Understanding the disharmony between dropout and batch normalization by variance
shift"). Training itself never reads running statistics: the weights are the same either way.
Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 ("PreciseBN").
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, distributed
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # of all dimensions, and synced

from lus_ray.nets.mc_dropout import train_only
from lus_ray.tasks.task import Task


@torch.no_grad()
def reestimate(
    task: Task, batches: Iterable[Mapping[str, Tensor]], *, seed: int, with_workers: bool = False
) -> None:
    """Set running means and variances to their averages over batches, with dropout off.

    Everything but the batch norms is in evaluation mode. A batch norm that no batch reaches keeps
    its statistics. Several workers, each with as many batches, get the average of all of them.
    """
    norms = [m for m in task.modules() if isinstance(m, BatchNorm) and m.running_mean is not None]
    before = [(norm.momentum, [own.clone() for own in _statistics(norm)]) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches
    gpus = sorted({p.get_device() for p in task.parameters() if p.is_cuda})
    with train_only((BatchNorm,), task.modules()), torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        for batch in batches if norms else ():
            task.estimate_statistics(batch)
    for norm, (momentum, statistics) in zip(norms, before, strict=True):
        norm.momentum = momentum
        reached = bool(norm.num_batches_tracked)
        for own, earlier in zip(_statistics(norm), statistics, strict=True):
            if not reached:
                own.copy_(earlier)
            elif with_workers:
                distributed.all_reduce(own)
                own /= distributed.get_world_size()


def copy_from_first_worker(task: Task) -> None:
    """Give all workers the buffers of the first, so that all of them have its validation scores."""
    for buffer in task.buffers():
        distributed.broadcast(buffer, 0)


def _statistics(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
