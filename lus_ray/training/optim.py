"""The optimizer of each network of a task, and its learning rate schedule."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lus_ray.tasks.task import Task
from lus_ray.training.recipe import Recipe


class Adam(torch.optim.Adam):
    """Torch's Adam without the import of torch's compiler, with the same bits.

    Why: torch wraps these methods for its compiler, and the first call imports 700 modules, more
    than a second of CPU in every process that trains. No setting turns this off.
    """

    add_param_group = torch.optim.Optimizer.add_param_group.__wrapped__  # type: ignore[attr-defined]
    state_dict = torch.optim.Optimizer.state_dict.__wrapped__  # type: ignore[attr-defined]
    load_state_dict = torch.optim.Optimizer.load_state_dict.__wrapped__  # type: ignore[attr-defined]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return torch.optim.Adam.step.__wrapped__(self, closure)  # type: ignore[attr-defined]


def build_adam(task: Task, network: str, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam with the recipe's settings, except those of `task.adam_settings`.

    Decoupled weight decay applies to matrices and kernels, not to norms and biases; `l2` to all.
    On a GPU one kernel updates all parameters: small networks wait for kernel launches.
    """
    overrides = {"l2": recipe.l2, "betas": (0.9, 0.999), **task.adam_settings(network)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in task.get_submodule(network).named_parameters(prefix=network):
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups[recipe.lr * task.lr_factor(name), overrides["l2"] or decay].append(parameter)
    return Adam(
        [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()],
        lr=recipe.lr,
        betas=overrides["betas"],
        eps=recipe.eps,
        decoupled_weight_decay=not overrides["l2"],
        fused=True if next(task.parameters()).is_cuda else None,
    )


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Callable[[float], None]:
    """A function to call after each epoch with its validation score."""
    if recipe.plateau is not None:
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=recipe.plateau, patience=recipe.patience
        )
        return plateau.step
    if recipe.milestones:
        steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones))
        return lambda score: steps.step()
    warm = max(1, round(recipe.warmup * recipe.epochs))

    def factor(epoch: int) -> float:
        rise = min(1.0, (epoch + 1) / (warm + 1)) if recipe.warmup else 1.0
        progress = max(0.0, (epoch - warm) / max(1, recipe.epochs - warm))
        return rise * (0.5 * (1 + math.cos(math.pi * progress)) if recipe.cosine else 1.0)

    by_epoch = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return lambda score: by_epoch.step()
