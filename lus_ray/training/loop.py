"""The training loop: the only one, and it knows nothing of Ray.

It takes a task, batches by epoch, a way to validate, a recipe, and a report function. Supervised
and adversarial tasks share it: networks are updated in turn, and clearing every gradient before
each network is what makes one wrapped module right for all of them.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lus_ray.data.transforms import augment_gare2021
from lus_ray.errors import CellError
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import optim
from lus_ray.training.recipe import Recipe
from lus_ray.training.state import BestEpoch, EpochRecord, TrainingProgress, TrainingState

Batches = Callable[[int], Iterable[Mapping[str, Tensor]]]
Report = Callable[[dict[str, float]], None]
Prepare = Callable[[Task], nn.Module]

MAX_BAD_STEPS = 3
"""So many steps in a row without a finite loss, or an epoch of nothing else, end the training at
its best epoch."""

MAX_TROUBLED = 5
"""So many epochs in a row in which the task sees trouble end it at the best one before them."""


@dataclass(frozen=True)
class FitResult:
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
    state: TrainingState | None = None,
) -> FitResult:
    """Train `task` in place and leave it at the epoch that the recipe selects.

    `batches(epoch)` yields uint8 frames and labels; `validate(task)` gives scores, of which
    `score` is maximised; `report` hears of every epoch; `prepare` may wrap the task (one worker
    of several). With no validation clips the score is NaN, and the last epoch is kept. A recipe
    that selects by loss keeps the parameters from before the epoch in which it was lowest.
    An epoch in which the task sees trouble is kept only where there is none without, and several
    in a row end the training. A note tells where another epoch is kept than the recipe promises.
    With a `state`, training goes on from what lies there, and writes it from time to time.

    Raises:
        CellError: the loss stopped being finite before any epoch was complete.
    """
    task.to(device)
    if device != "cpu":
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = prepare(task) if prepare else task
    adams = {network: optim.build_adam(task, network, recipe) for network in task.networks}
    schedules = [optim.build_schedule(adam, recipe) for adam in adams.values()]
    done = state.load(task, adams) if state else TrainingProgress()
    for past in done.past:
        _tell(schedules, past.score)
    for epoch in range(done.epoch, recipe.epochs):
        before = _copy(task) if recipe.select == "loss" else None
        task.progress = epoch / recipe.epochs
        seeds = (seed, epoch, rank)
        losses = _epoch(model, task, adams, batches(epoch), recipe, seeds, device, done)
        broken = _broken(task, losses, done)
        if losses is None or broken:
            done.notes.append(f"{broken} in epoch {epoch}")
            break
        if skipped := losses.pop("skipped", 0.0):
            done.notes.append(
                f"epoch {epoch}: {skipped:g} steps without a finite loss were left out"
            )
        trouble = task.find_problem({k.removeprefix("train_"): v for k, v in losses.items()})
        task.eval()
        scores = validate(task)
        report({"epoch": epoch, **losses, **{f"val_{k}": v for k, v in scores.items()}})
        score = scores.get("score", math.nan)
        worth = score if before is None else -losses["train_loss"]
        done.past.append(EpochRecord(score, worth, trouble))
        if done.troubled >= MAX_TROUBLED:
            done.notes.append(f"{trouble} in {done.troubled} epochs in a row, to epoch {epoch}")
            break
        if _chosen(done.past, recipe) == epoch:
            done.best = BestEpoch(epoch, scores, before or _copy(task))
        _tell(schedules, score)
        if state is not None:
            state.save(task, adams, done)
    if done.best is None:
        raise CellError(f"{done.notes[-1]}; lower the learning rate ({recipe.lr:g})")
    task.load_state_dict(done.best.parameters)
    task.eval()
    scores = validate(task) if recipe.select == "loss" else done.best.scores
    return FitResult(done.best.epoch, scores, (*done.notes, *_told(done.best.epoch, done, recipe)))


def _chosen(past: Sequence[EpochRecord], recipe: Recipe, *, sound: bool = True) -> int:
    """The epoch that the recipe selects; one without trouble, where it has to be `sound`.

    The first of equals. A worth that is no number gives way to any later one, and never to none.
    """
    epochs = [epoch for epoch, one in enumerate(past) if not (sound and one.trouble)]
    chosen, *later = epochs or range(len(past))
    for epoch in later:
        worth, best = past[epoch].worth, past[chosen].worth
        if recipe.select == "last" or math.isnan(best) or worth > best:
            chosen = epoch
    return chosen


def _told(kept: int, done: TrainingProgress, recipe: Recipe) -> list[str]:
    """A note where the kept epoch is not the one that the recipe promises, or had trouble too."""
    last = recipe.select == "last"
    promised = recipe.epochs - 1 if last else _chosen(done.past, recipe, sound=False)
    trouble = done.past[promised].trouble if promised < len(done.past) else ""
    because = f": {trouble}" if trouble else ""
    if kept != promised:
        return [f"epoch {kept} was kept, not epoch {promised}{because}"]
    return [f"epoch {kept} was kept, as no epoch was without trouble{because}"] if trouble else []


def _broken(task: Task, losses: Mapping[str, float] | None, done: TrainingProgress) -> str:
    """What an epoch left behind that no later one can mend, or nothing.

    A step that is left out can still have spoiled what a normalisation remembers of its batch.
    """
    if losses is None:
        if done.bad_steps < MAX_BAD_STEPS:
            return "no step had a finite loss"
        return f"the loss was not finite {MAX_BAD_STEPS} times in a row"
    for name, value in task.state_dict().items():
        if not torch.isfinite(value).all():
            return f"{name} was not finite"
    return ""


def _tell(schedules: Iterable[Callable[[float], None]], score: float) -> None:
    """Tell schedules of the end of an epoch; in a replay no optimizer made a step before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for schedule in schedules:
            schedule(score)


def _epoch(
    model: nn.Module,
    task: Task,
    adams: Mapping[str, torch.optim.Optimizer],
    batches: Iterable[Mapping[str, Tensor]],
    recipe: Recipe,
    seed: tuple[int, int, int],
    device: str,
    done: TrainingProgress,
) -> dict[str, float] | None:
    """Mean losses over one pass, or None when they stay, or all are, without a finite value.

    `done` counts steps without one across epochs.
    """
    model.train()
    if model is not task:  # several workers: each draws its own, and one state serves them all
        torch.manual_seed(_mix(seed))
    sums: dict[str, float] = defaultdict(float)
    num_good = num_bad = 0
    parameters = list(model.parameters())
    for step, raw in enumerate(batches):
        batch = _ready(raw, recipe, (*seed, step), device)
        values = _step(model, task, parameters, batch, adams, device)
        if values is None:
            num_bad, done.bad_steps = num_bad + 1, done.bad_steps + 1
            if done.bad_steps >= MAX_BAD_STEPS:
                return None
            continue
        num_good, done.bad_steps = num_good + 1, 0
        for name, value in values.items():
            sums[name] += value
    if not num_good:
        return None
    means = {f"train_{name}": total / num_good for name, total in sums.items()}
    return {**means, "skipped": float(num_bad)}


def _step(
    model: nn.Module,
    task: Task,
    parameters: Iterable[nn.Parameter],
    batch: Mapping[str, Tensor],
    adams: Mapping[str, torch.optim.Optimizer],
    device: str,
) -> dict[str, float] | None:
    """Update every network once; losses by name, or None when one was not finite.

    Where networks take turns, a loss is carried back to the parameters of its own network alone;
    a model wrapped for several workers has to see all of them. Their losses have the network's
    name then, and `loss` is the sum.
    """
    values: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=torch.float64, device=device)
    for network, adam in adams.items():
        for parameter in parameters:  # `zero_grad` would look for them in every module again
            parameter.grad = None
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            losses = model(batch, network)
        if not torch.isfinite(losses["loss"]):
            return None
        apart = len(adams) > 1 and model is task  # to name parameters makes a pass slower
        own = [p for group in adam.param_groups for p in group["params"]]
        losses["loss"].backward(inputs=own if apart else None)
        adam.step()
        task.constrain()
        values |= {name: value.detach().double() for name, value in losses.items()}
        total = total + values["loss"]
        if len(adams) > 1:
            values |= {f"{network}_loss": values["loss"], "loss": total}
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _ready(
    batch: Mapping[str, Tensor], recipe: Recipe, seed: tuple[int, ...], device: str
) -> dict[str, Tensor]:
    """A batch on the training device, its frames in [0, 1] and augmented."""
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    if "frames" not in moved:
        return moved
    moved["frames"] = to_unit_range(moved["frames"])
    if "target_frames" in moved:
        moved["target_frames"] = to_unit_range(moved["target_frames"])
    if "copy" in moved:
        outlined = moved.get("masks", torch.zeros_like(moved["frames"], dtype=torch.uint8))
        moved["frames"], outlined = augment_gare2021.make_copies(
            moved["frames"], outlined, moved.pop("copy")
        )
        if "masks" in moved:
            moved["masks"] = outlined
    if recipe.augment is not None:
        generator = torch.Generator().manual_seed(_mix(seed))
        if "target_frames" in moved:
            moved["target_frames"] = recipe.augment(moved["target_frames"], generator)
        if "masks" in moved:
            both = recipe.augment.with_masks(moved["frames"], moved["masks"], generator)
            moved["frames"], moved["masks"] = both
        else:
            moved["frames"] = recipe.augment(moved["frames"], generator)
    return moved


def _copy(task: Task) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.state_dict().items()}


def _mix(seed: tuple[int, ...]) -> int:
    mixed = 0
    for part in seed:
        mixed = (mixed * 1_000_003 + part + 1) % (2**63 - 1)
    return mixed
