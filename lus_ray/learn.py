"""The training loop: the only one, and it knows nothing of Ray.

It takes a task, batches by epoch, a way to validate, a recipe, and a report function. Supervised
and adversarial tasks share it: players are updated in turn, and clearing every gradient before
each player is what makes one wrapped module right for all of them.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lus_ray import six_copies
from lus_ray.errors import CellError
from lus_ray.experiment import Recipe
from lus_ray.tasks.task import Task, unit

Batches = Callable[[int], Iterable[Mapping[str, Tensor]]]
Report = Callable[[dict[str, float]], None]
Prepare = Callable[[Task], nn.Module]

MAX_BAD_STEPS = 3
"""So many steps in a row without a finite loss end the training at its best epoch."""


@dataclass(frozen=True)
class Fitted:
    """What training came to: the kept epoch, its validation scores, and notes of trouble."""

    epoch: int
    scores: dict[str, float]
    notes: tuple[str, ...] = ()


def fit(
    task: Task,
    *,
    batches: Batches,
    validate: Callable[[Task], dict[str, float]],
    recipe: Recipe,
    seed: int,
    report: Report,
    prepare: Prepare | None = None,
    device: str = "cpu",
    rank: int = 0,
) -> Fitted:
    """Train `task` in place and leave it at the epoch that the recipe selects.

    `batches(epoch)` yields uint8 frames and labels; `validate(task)` gives scores, of which
    `score` is maximised; `report` hears of every epoch; `prepare` may wrap the task (one worker
    of several). With no validation clips the score is NaN, and the last epoch is kept. A recipe
    that selects by loss keeps the parameters from before the epoch in which it was lowest.

    Raises:
        CellError: the loss stopped being finite before any epoch was complete.
    """
    task.to(device)
    if device != "cpu":
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = prepare(task) if prepare else task
    optimizers = {player: _adam(task, player, recipe) for player in task.players}
    schedules = [_schedule(optimizer, recipe) for optimizer in optimizers.values()]
    best: tuple[float, int, dict[str, float], dict[str, Tensor]] | None = None
    notes: list[str] = []
    for epoch in range(recipe.epochs):
        before = _copy(task) if recipe.select == "loss" else None
        losses = _epoch(
            model, task, optimizers, batches(epoch), recipe, (seed, epoch, rank), device
        )
        if losses is None:
            notes.append(f"the loss was not finite {MAX_BAD_STEPS} times in a row in epoch {epoch}")
            break
        if skipped := losses.pop("skipped", 0.0):
            notes.append(f"epoch {epoch}: {skipped:g} steps without a finite loss were left out")
        task.eval()
        scores = validate(task)
        report({"epoch": epoch, **losses, **{f"val_{k}": v for k, v in scores.items()}})
        score = scores.get("score", math.nan)
        worth = score if before is None else -losses["train_loss"]
        if best is None or recipe.select == "last" or not worth <= best[0]:
            best = (worth, epoch, scores, before or _copy(task))
        for schedule in schedules:
            schedule(score)
    if best is None:
        raise CellError(f"{notes[0]}; lower the learning rate ({recipe.lr:g})")
    task.load_state_dict(best[3])
    task.eval()
    scores = validate(task) if recipe.select == "loss" else best[2]
    return Fitted(best[1], scores, tuple(notes))


def _epoch(
    model: nn.Module,
    task: Task,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batches: Iterable[Mapping[str, Tensor]],
    recipe: Recipe,
    seed: tuple[int, int, int],
    device: str,
) -> dict[str, float] | None:
    """Mean losses over one pass, or None when they stay without a finite value."""
    model.train()
    sums: dict[str, float] = defaultdict(float)
    num_good = num_bad = bad_in_a_row = 0
    for step, raw in enumerate(batches):
        batch = _ready(raw, recipe, (*seed, step), device)
        values = _step(model, task, batch, optimizers, device)
        if values is None:
            num_bad, bad_in_a_row = num_bad + 1, bad_in_a_row + 1
            if bad_in_a_row >= MAX_BAD_STEPS:
                return None
            continue
        num_good, bad_in_a_row = num_good + 1, 0
        for name, value in values.items():
            sums[name] += value
    means = {f"train_{name}": total / num_good for name, total in sums.items()}
    return {**means, "skipped": float(num_bad)}


def _step(
    model: nn.Module,
    task: Task,
    batch: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    device: str,
) -> dict[str, float] | None:
    """Update every player once; losses by name, or None when one was not finite."""
    values: dict[str, float] = {}
    for player, optimizer in optimizers.items():
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            losses = model(batch, player)
        if not torch.isfinite(losses["loss"]):
            return None
        losses["loss"].backward()
        optimizer.step()
        task.constrain()
        values |= {name: float(value.detach()) for name, value in losses.items()}
    return values


def _ready(
    batch: Mapping[str, Tensor], recipe: Recipe, seed: tuple[int, ...], device: str
) -> dict[str, Tensor]:
    """A batch on the training device, its frames in [0, 1] and augmented."""
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    if "frames" not in moved:
        return moved
    moved["frames"] = unit(moved["frames"])
    if "copy" in moved:
        outlined = moved.get("masks", torch.zeros_like(moved["frames"], dtype=torch.uint8))
        moved["frames"], outlined = six_copies.copy(moved["frames"], outlined, moved.pop("copy"))
        if "masks" in moved:
            moved["masks"] = outlined
    if recipe.augment is not None:
        generator = torch.Generator().manual_seed(_mix(seed))
        if "masks" in moved:
            both = recipe.augment.with_masks(moved["frames"], moved["masks"], generator)
            moved["frames"], moved["masks"] = both
        else:
            moved["frames"] = recipe.augment(moved["frames"], generator)
    return moved


def _adam(task: Task, player: str, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam; decoupled weight decay acts on matrices and kernels, not on norms and biases."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in task.get_submodule(player).named_parameters(prefix=player):
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups[recipe.lr * task.rate(name), recipe.l2 or decay].append(parameter)
    adam = torch.optim.Adam if recipe.l2 else torch.optim.AdamW
    return adam(
        [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()],
        lr=recipe.lr,
        eps=recipe.eps,
    )


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Callable[[float], None]:
    """What is done after each epoch, given its validation score."""
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


def _copy(task: Task) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.state_dict().items()}


def _mix(seed: tuple[int, ...]) -> int:
    mixed = 0
    for part in seed:
        mixed = (mixed * 1_000_003 + part + 1) % (2**63 - 1)
    return mixed
