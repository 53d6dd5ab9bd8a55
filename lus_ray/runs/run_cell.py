"""Run one cell: train, predict every clip of its fold, write. No Ray: any process can do it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lus_ray.clip import Row
from lus_ray.data.loading.batches import Pixels, pair_streams
from lus_ray.data.loading.sampler import count_images
from lus_ray.errors import ArmError, CellError
from lus_ray.experiment import Arm
from lus_ray.folds import Fold
from lus_ray.predictor import Prediction
from lus_ray.runs import cell_predictions, cell_rows, predictions
from lus_ray.runs.cell import Cell, EpochCallback, cell_seed
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.cost import CostMeter, add_workers
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks.task import Task, with_arguments
from lus_ray.training import checkpoint, loop
from lus_ray.training.state import TrainingState


def run(
    cell: Cell,
    plan: RunPlan,
    pixels: Pixels,
    report: EpochCallback,
    *,
    device: str = "cpu",
    fit: Callable[..., loop.FitResult] | None = None,
) -> dict[str, float]:
    """Train, predict every clip of the fold, and write; the validation scores.

    `fit` stands in for `loop.fit` where several workers train.

    Raises:
        LusError: what went wrong, in one line.
    """
    meter = CostMeter(device)
    arm = apply_settings(plan.experiment.arm(cell.arm), dict(cell.settings))
    fold = next(f for f in plan.folds if f.number == cell.fold)
    seed = cell_seed(plan.experiment.seed, cell)
    folder = plan.folder_of(cell)
    state, log = TrainingState(folder.state), CellLog(folder, report)
    rows = cell_rows.rows_of(arm, fold, cell, plan)
    second = cell_rows.unlabelled_rows(arm, fold, plan)
    make = make_trainer(
        arm, cell, plan, pixels, log, second=second, seed=seed, device=device,
        fit=fit or partial(fit_task, state=None if arm.crossfit else state),
    )  # fmt: skip
    if arm.crossfit:
        task, said, scores = _crossfit(arm, rows, fold, make, pixels, seed, device)
    else:
        task, scores = make(rows)
        save_checkpoint(task, arm, cell, plan, seed)
        if arm.rows.images:
            rows = [row for row in rows if row["split"] == "test"]
        said = list(cell_predictions.of(task, rows, pixels, device))
    # Where clips are dealt at random no other arm has the examples; side by side they say nothing.
    alone = arm.crossfit or arm.rows.clips
    first = fold.number == min(f.number for f in plan.folds)
    if first and not alone and not task.reads_rows:
        from lus_ray.runs import example_images  # with matplotlib, which other cells do without

        if isinstance(task, example_images.Drawable):
            example_images.draw(
                task, rows, pixels, folder.images, device=device,
                learns=arm.rows.learns, unlabelled=arm.rows.unlabelled,
            )  # fmt: skip
    table = [
        predictions.row(
            row,
            fold=fold.number,
            split=row["split"],
            said=answer,
            target=None if task.scheme else cell_predictions.target(task, row),
        )
        for row, answer in zip(rows, said, strict=True)
    ]
    cost = meter.stop()
    if arm.recipe is not None and arm.recipe.workers > 1:
        cost = add_workers(cost, folder, arm.recipe.workers)
    log.write_cost(cost, scores)
    predictions.write(folder.predictions, table, _about(task, arm, cell, plan))
    state.remove()
    return scores


def save_checkpoint(task: Any, arm: Arm, cell: Cell, plan: RunPlan, seed: int) -> None:
    """Write the checkpoint of a trained task to the cell's folder."""
    checkpoint.save(plan.folder_of(cell).checkpoint, task, checkpoint.describe(arm.task), seed=seed)


def make_trainer(
    arm: Arm,
    cell: Cell,
    plan: RunPlan,
    pixels: Pixels,
    log: CellLog,
    *,
    second: Sequence[Row],
    seed: int,
    device: str,
    fit: Callable[..., loop.FitResult],
) -> Callable[[Sequence[Row]], tuple[Any, dict[str, float]]]:
    """A function from rows with a `split` to a trained task and its validation scores.

    `second` are the rows of the unlabelled stream, if the arm has one.
    """

    def learned(rows: Sequence[Row]) -> tuple[Any, dict[str, float]]:
        torch.manual_seed(seed)
        task = checkpoint.build(checkpoint.describe(arm.task))
        taught = [row for row in rows if cell_predictions.target(task, row) is not None]
        train, note = cell_rows.training_rows(
            arm, [row for row in taught if row["split"] == "train"]
        )
        log.notes += note
        judge = "test" if arm.recipe and arm.recipe.select == "test" else "val"
        val = [row for row in taught if row["split"] == judge]
        if task.fits_in_one_call:
            scores = task.fit_rows(train, val, seed=seed)
            log.log_epoch({"epoch": 0, **{f"val_{name}": value for name, value in scores.items()}})
            return task, scores
        if arm.start is not None:
            start = replace(cell, arm=arm.start, sample=None, settings=())
            checkpoint.initialize_from_checkpoint(task, plan.folder_of(start).checkpoint)
        elif arm.weights is not None:
            checkpoint.initialize_from(task, Path(arm.weights))
        if arm.members:
            load_members(task, arm, cell, plan)
        if arm.recipe is None:
            return task.eval(), {}
        if not train:
            raise CellError(f"{cell.name}: no training clip has {arm.label}; add labelled clips")
        if arm.rows.unlabelled and not second:
            raise CellError(f"{cell.name}: no training clip equals {dict(arm.rows.unlabelled)}")
        if arm.rows.reduced:
            train = cell_rows.reduce_images(train, count_images(second), seed=plan.experiment.seed)
        fitted = fit(
            task, train, val, arm=arm, pixels=pixels, seed=seed, report=log.log_epoch,
            device=device, second=second,
        )  # fmt: skip
        log.notes += fitted.notes
        return task, fitted.scores

    return learned


def load_members(task: Any, arm: Arm, cell: Cell, plan: RunPlan) -> None:
    """Give the networks of a task the weights of the arms that are its members.

    Raises:
        ArmError: a member is not what its arm trained.
    """
    wanted = checkpoint.describe(arm.task)["arguments"]["members"]
    for name, member, network in zip(arm.members, wanted, task.net, strict=True):
        trained = replace(cell, arm=name, sample=None, settings=())
        folder = plan.folder_of(trained).checkpoint
        if {"task": checkpoint.read_description(folder)} != member:
            raise ArmError(f"{arm.name}: {name!r} was trained with other settings; set both alike")
        network.load_state_dict(checkpoint.load_weights(folder))


def fit_task(
    task: Task,
    train: Sequence[Row],
    val: Sequence[Row],
    *,
    arm: Arm,
    pixels: Pixels,
    seed: int,
    report: EpochCallback,
    device: str,
    second: Sequence[Row] = (),
    rank: int = 0,
    workers: int = 1,
    **more: Any,
) -> loop.FitResult:
    """`loop.fit` on rows: as one worker in this process, or as one of several.

    A `second` stream gives an epoch as many frames as the longer of the two has.
    """
    recipe = arm.recipe
    assert recipe is not None
    longer = max(count_images(train), count_images(second)) if second else 0
    epochs = partial(
        cell_predictions.source(task, pixels).epochs, view=task.view, batch=recipe.batch,
        by_frame=cell_predictions.each_frame(task), num_samples=recipe.draws or longer, rank=rank,
        workers=workers,
    )  # fmt: skip
    batches = epochs(
        train, columns=task.columns, seed=seed, balance=recipe.oversample, copies=recipe.copies,
        scheme=task.scheme,
    )  # fmt: skip
    if second:
        batches = pair_streams(batches, epochs(second, columns=(), seed=seed + 1))

    def validate(task: Task) -> dict[str, float]:
        num_samples = recipe.val_samples
        said = cell_predictions.of(task, val, pixels, device, num_samples=num_samples)
        pairs = zip(val, said, strict=True)
        return task.score(
            [
                {"target": cell_predictions.seen_target(task, r, num_samples), **answer}
                for r, answer in pairs
            ]
        )

    return loop.fit(
        task, batches=batches, validate=validate, recipe=recipe, seed=seed, report=report,
        device=device, rank=rank, **more,
    )  # fmt: skip


def apply_settings(arm: Arm, settings: dict[str, Any]) -> Arm:
    """The arm with settings of a search sample: recipe fields, or `task.<argument>`."""
    if not settings:
        return arm
    task = {k.removeprefix("task."): v for k, v in settings.items() if k.startswith("task.")}
    recipe = {k: v for k, v in settings.items() if not k.startswith("task.")}
    return replace(
        arm,
        task=with_arguments(arm.task, task),
        recipe=arm.recipe and replace(arm.recipe, **recipe),
    )


def _crossfit(
    arm: Arm,
    rows: list[Row],
    fold: Fold,
    make: Callable[[Sequence[Row]], tuple[Any, dict[str, float]]],
    pixels: Pixels,
    seed: int,
    device: str,
) -> tuple[Any, list[Prediction], dict[str, float]]:
    """Training clips as seen by inner models without them; the others as the arm it reads says.

    Groups of the training side are dealt to `crossfit` parts; each inner model learns from the
    other parts, with the validation side of the fold as its own.
    """
    groups = sorted({r["group"] for r in rows if r["split"] == "train"})
    order = np.random.default_rng(seed).permutation(len(groups))
    part = {groups[g]: i % arm.crossfit for i, g in enumerate(order)}
    said: dict[str, Prediction] = {
        r["clip"]: {
            n: np.asarray(r[n], np.float32)
            for n in ("outputs", "features", "probability")
            if r[n] is not None
        }
        for r in rows
    }
    task, scores = None, []
    for number in range(arm.crossfit):
        held = [r for r in rows if r["split"] == "train" and part[r["group"]] == number]
        names = {r["clip"] for r in held}
        task, score = make([r for r in rows if r["clip"] not in names])
        for row, answer in zip(held, cell_predictions.of(task, held, pixels, device), strict=True):
            said[row["clip"]] = answer
        scores.append(score)
    mean = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return task, [said[r["clip"]] for r in rows], mean


def _about(task: Any, arm: Arm, cell: Cell, plan: RunPlan) -> predictions.About:
    return predictions.About(
        arm=arm.name,
        fold=cell.fold,
        label=arm.label,
        classes=tuple(task.classes),
        multilabel=task.multilabel,
        fingerprint=plan.fingerprint,
        by_frame=task.by_frame,
        inherited=task.inherited,
        scheme=task.scheme,
    )
