"""The optimizer of each network of a task, and its learning rate schedule."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lus_ray.tasks.task import Task
from lus_ray.training.recipe import Recipe

TENTHS = 10
"""Parts of the training after which `decay` applies."""


class Adam(torch.optim.Adam):
    """Torch's Adam without the import of torch's compiler, with the same bits.

    With `turn` (i, n) this network is the i-th (from 0) of n that one Adam of TensorFlow 1 updates
    in turn: their bias corrections share the powers of beta, which fall with every update of any.
    Early steps are about sqrt(n) times as long.

    Why: torch wraps these methods for its compiler, and the first call imports 700 modules, more
    than a second of CPU in every process that trains. No setting turns this off.
    """

    add_param_group = torch.optim.Optimizer.add_param_group.__wrapped__  # type: ignore[attr-defined]
    state_dict = torch.optim.Optimizer.state_dict.__wrapped__  # type: ignore[attr-defined]
    load_state_dict = torch.optim.Optimizer.load_state_dict.__wrapped__  # type: ignore[attr-defined]

    def __init__(self, params: Any, *, turn: tuple[int, int] = (0, 1), **settings: Any) -> None:
        super().__init__(params, **settings)
        number, self.num_networks = turn
        if self.num_networks == 1:
            return
        for group in self.param_groups:
            for p in group["params"]:
                step = torch.tensor(float(number), device=p.device if group["fused"] else "cpu")
                moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
                self.state[p] = {"step": step, **moments}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = torch.optim.Adam.step.__wrapped__(self, closure)  # type: ignore[attr-defined]
        if self.num_networks > 1:
            for state in self.state.values():
                state["step"] += self.num_networks - 1
        return loss


def build_adam(task: Task, network: str, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam with the recipe's settings, except those of `task.adam_settings`.

    Decoupled weight decay applies to matrices and kernels, not to norms and biases; `l2` to all.
    On a GPU one kernel updates all parameters: small networks wait for kernel launches.
    """
    overrides = {
        "l2": recipe.l2, "betas": (0.9, 0.999), "turn": (0, 1), **task.adam_settings(network)
    }  # fmt: skip
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in task.get_submodule(network).named_parameters(prefix=network):
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups[recipe.lr * task.lr_factor(name), overrides["l2"] or decay].append(parameter)
    return Adam(
        [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()],
        lr=recipe.lr,
        betas=overrides["betas"],
        turn=overrides["turn"],
        eps=recipe.eps,
        decoupled_weight_decay=not overrides["l2"],
        fused=True if next(task.parameters()).is_cuda else None,
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, task: Task, network: str, recipe: Recipe
) -> Callable[[float], None]:
    """A function to call after each epoch with its validation score.

    `decay` of the recipe is replaced by that of `task.adam_settings`.
    """
    if recipe.plateau is not None:
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=recipe.plateau, patience=recipe.patience
        )
        return plateau.step
    if recipe.milestones:
        steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones))
        return lambda score: steps.step()
    decay = task.adam_settings(network).get("decay", recipe.decay)
    warm = max(1, round(recipe.warmup * recipe.epochs))

    def factor(epoch: int) -> float:
        rise = min(1.0, (epoch + 1) / (warm + 1)) if recipe.warmup else 1.0
        progress = max(0.0, (epoch - warm) / max(1, recipe.epochs - warm))
        fall = 0.5 * (1 + math.cos(math.pi * progress)) if recipe.cosine else 1.0
        return rise * fall * decay ** (TENTHS * epoch // recipe.epochs)

    by_epoch = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return lambda score: by_epoch.step()
