"""The training loop for every task, without Ray.

The networks of a task are updated in turn. All gradients are cleared before each network, so that
one wrapped module is correct for supervised and adversarial tasks.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from lus_ray.data.transforms.batch_augmentation import augment_batch
from lus_ray.errors import CellError
from lus_ray.tasks.across_workers import mean_over_workers, sum_over_workers
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import batch_norm, optim
from lus_ray.training.progress import BestEpoch, EpochRecord, TrainingProgress, UnfinishedEpoch
from lus_ray.training.recipe import Recipe
from lus_ray.training.state import TrainingState

Batches = Callable[[int, int], Iterable[Mapping[str, Tensor]]]
"""The batches of an epoch by its number, from a step on."""
Report = Callable[[dict[str, float]], None]
Prepare = Callable[[Task], nn.Module]

MAX_BAD_STEPS = 3
"""Steps in a row without a finite loss that end the training at its best epoch."""
MAX_PROBLEM_EPOCHS = 5
"""Epochs in a row with a problem that end the training at the best epoch before them."""


@dataclass(frozen=True)
class FitResult:
    """The kept epoch, its validation scores, and notes on problems."""

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

    An epoch in which the task finds a problem is kept only if every epoch has one, and several in
    a row end the training. A note names a kept epoch that the recipe does not select.

    Args:
        batches: uint8 frames and labels of an epoch, from a step on.
        validate: scores, of which `score` is maximised; NaN keeps the last epoch.
        report: receives the metrics of every epoch.
        prepare: wraps the task as one of several workers.
        state: where to resume from and to save to.

    Raises:
        CellError: the loss was not finite before any epoch was complete, or as `state.load`.
    """
    task.to(device)
    if device != "cpu":
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = prepare(task) if prepare else task

    def reestimate(epoch: int) -> None:
        seeds, plain = (seed, epoch, rank), replace(recipe, augment=None)
        own = islice(batches(epoch, 0), recipe.norm_batches)
        prepared = (_prepare_batch(batch, plain, 0, device) for batch in own)
        with_workers = prepare is not None
        batch_norm.reestimate(task, prepared, seed=_mix_seed(seeds), with_workers=with_workers)

    if not recipe.epochs:
        reestimate(0)
        return FitResult(0, validate(task.eval()))
    adams = {network: optim.build_adam(task, network, recipe) for network in task.networks}
    schedules = [optim.build_schedule(adam, task, name, recipe) for name, adam in adams.items()]
    progress = state.load(task, adams) if state else TrainingProgress()
    for record in progress.past:
        _step_schedules(schedules, record.score)

    def save() -> None:
        if state is not None:
            state.save(task, adams, progress)

    for epoch in range(progress.epoch, recipe.epochs):
        if progress.unfinished is None:
            before = _copy_parameters(task) if recipe.select == "loss" else None
            progress.unfinished = UnfinishedEpoch(before)
        before, start = progress.unfinished.before, progress.unfinished.step
        task.progress = epoch / recipe.epochs
        seeds, rest = (seed, epoch, rank), batches(epoch, start)
        losses = _run_epoch(model, task, adams, rest, recipe, seeds, device, progress, save)
        progress.unfinished = None
        if prepare:  # each has the statistics of its own share of the last batch
            batch_norm.copy_from_first_worker(task)
        failure = _find_failure(task, losses, progress)
        if losses is None or failure:
            progress.notes.append(f"{failure} in epoch {epoch}")
            break
        if count := losses.pop("skipped", 0.0):
            note = f"epoch {epoch}: {count:g} steps without a finite loss were skipped"
            progress.notes.append(note)
        problem = task.find_problem({k.removeprefix("train_"): v for k, v in losses.items()})
        task.eval()
        if recipe.norm_batches and recipe.follows_validation:
            reestimate(epoch)
        scores = validate(task)
        report({"epoch": epoch, **losses, **{f"val_{k}": v for k, v in scores.items()}})
        score = scores.get("score", math.nan)
        worth = score if before is None else -losses["train_loss"]
        progress.past.append(EpochRecord(score, worth, problem))
        if progress.problem_epochs >= MAX_PROBLEM_EPOCHS:
            count = progress.problem_epochs
            progress.notes.append(f"{problem} in {count} epochs in a row, to epoch {epoch}")
            break
        if _select_epoch(progress.past, recipe) == epoch:
            progress.best = BestEpoch(epoch, scores, before or _copy_parameters(task))
        _step_schedules(schedules, score)
        save()
    best = progress.best
    if best is None:
        raise CellError(f"{progress.notes[-1]}; lower the learning rate ({recipe.lr:g})")
    task.load_state_dict(best.parameters)
    task.eval()
    changed = recipe.select == "loss"
    if recipe.norm_batches and not recipe.follows_validation:
        reestimate(best.epoch)
        changed = True
    scores = validate(task) if changed else best.scores
    notes = (*progress.notes, *_note_selection(best.epoch, progress, recipe))
    return FitResult(best.epoch, scores, notes)


def _select_epoch(
    past: Sequence[EpochRecord], recipe: Recipe, *, avoid_problems: bool = True
) -> int:
    """The first best epoch, if possible without a problem; any later one replaces a NaN worth."""
    epochs = [n for n, record in enumerate(past) if not (avoid_problems and record.problem)]
    chosen, *later = epochs or range(len(past))
    for epoch in later:
        worth, best = past[epoch].worth, past[chosen].worth
        if recipe.select == "last" or math.isnan(best) or worth > best:
            chosen = epoch
    return chosen


def _note_selection(kept: int, progress: TrainingProgress, recipe: Recipe) -> list[str]:
    past = progress.past
    last = recipe.select == "last"
    expected = recipe.epochs - 1 if last else _select_epoch(past, recipe, avoid_problems=False)
    problem = past[expected].problem if expected < len(past) else ""
    reason = f": {problem}" if problem else ""
    if recipe.select in ("best", "test") and all(math.isnan(record.worth) for record in past):
        return [f"no epoch has a validation score; epoch {kept} was kept"]
    if kept != expected:
        return [f"epoch {kept} was kept, not epoch {expected}{reason}"]
    return [f"epoch {kept} was kept, as every epoch had a problem{reason}"] if problem else []


def _find_failure(
    task: Task, losses: Mapping[str, float] | None, progress: TrainingProgress
) -> str:
    """Why training cannot continue after an epoch, or an empty string."""
    if losses is None:
        if progress.bad_steps < MAX_BAD_STEPS:
            return "no step had a finite loss"
        return f"the loss was not finite {MAX_BAD_STEPS} times in a row"
    for name, value in task.state_dict().items():
        if not torch.isfinite(value).all():  # a skipped step changes running statistics, too
            return f"{name} was not finite"
    return ""


def _step_schedules(schedules: Iterable[Callable[[float], None]], score: float) -> None:
    with warnings.catch_warnings():
        # On resuming, no optimizer has made a step before.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for schedule in schedules:
            schedule(score)


def _run_epoch(
    model: nn.Module,
    task: Task,
    adams: Mapping[str, torch.optim.Optimizer],
    batches: Iterable[Mapping[str, Tensor]],
    recipe: Recipe,
    seed: tuple[int, int, int],
    device: str,
    progress: TrainingProgress,
    save: Callable[[], None],
) -> dict[str, float] | None:
    """Mean losses over one pass; None if no step, or none of the last few, had a finite loss.

    Continues after the steps of `progress.unfinished`, and counts its own there.
    """
    done = progress.unfinished
    assert done is not None
    model.train()
    if model is not task and not done.step:  # several workers: each draws its own
        torch.manual_seed(_mix_seed(seed))
    parameters = list(model.parameters())
    for step, raw in enumerate(batches, done.step):
        batch = _prepare_batch(raw, recipe, _mix_seed((*seed, step)), device)
        values = _step(model, task, parameters, batch, adams, device)
        done.step, done.num_good = step + 1, done.num_good + (values is not None)
        progress.bad_steps = 0 if values is not None else progress.bad_steps + 1
        if progress.bad_steps >= MAX_BAD_STEPS:
            return None
        for name, value in (values or {}).items():
            done.sums[name] = done.sums.get(name, 0.0) + value
        save()
    if not done.num_good:
        return None
    totals = torch.tensor(list(done.sums.values()), dtype=torch.float64, device=device)
    means = (mean_over_workers(totals) / done.num_good).tolist()
    named = {f"train_{name}": mean for name, mean in zip(done.sums, means, strict=True)}
    return {**named, "skipped": float(done.step - done.num_good)}


def _step(
    model: nn.Module,
    task: Task,
    parameters: Iterable[nn.Parameter],
    batch: Mapping[str, Tensor],
    adams: Mapping[str, torch.optim.Optimizer],
    device: str,
) -> dict[str, float] | None:
    """Update every network once; losses by name, or None if one was not finite.

    With several networks `<network>_loss` is the loss of each, and `loss` the sum. A loss is
    differentiated for its own network only, unless the model is wrapped for several workers.
    """
    values: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=torch.float64, device=device)
    for network, adam in adams.items():
        for parameter in parameters:  # `zero_grad` would search every module again
            parameter.grad = None
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            losses = model(batch, network)
        if not torch.isfinite(sum_over_workers(losses["loss"].detach())):
            return None  # on all workers alike
        separate = len(adams) > 1 and model is task  # naming inputs makes a backward pass slower
        own = [p for group in adam.param_groups for p in group["params"]]
        losses["loss"].backward(inputs=own if separate else None)
        adam.step()
        task.constrain()
        values |= {name: value.detach().double() for name, value in losses.items()}
        total = total + values["loss"]
        if len(adams) > 1:
            values |= {f"{network}_loss": values["loss"], "loss": total}
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _prepare_batch(
    batch: Mapping[str, Tensor], recipe: Recipe, seed: int, device: str
) -> dict[str, Tensor]:
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    if "frames" not in moved:
        return moved
    for name in {"frames", "target_frames"} & set(moved):
        moved[name] = to_unit_range(moved[name])
    return augment_batch(moved, recipe.augment, seed=seed)


def _copy_parameters(task: Task) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.state_dict().items()}


def _mix_seed(seed: tuple[int, ...]) -> int:
    mixed = 0
    for part in seed:
        mixed = (mixed * 1_000_003 + part + 1) % (2**63 - 1)
    return mixed
