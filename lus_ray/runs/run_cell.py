"""Run one cell in any process, without Ray: train, predict every clip of its fold, write."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lus_ray.arm_settings import apply_settings
from lus_ray.clip import Row
from lus_ray.data.loading.batches import Pixels, pair_streams
from lus_ray.data.loading.sampler import count_images, count_window
from lus_ray.errors import ArmError, CellError
from lus_ray.experiment import Arm
from lus_ray.predictor import Prediction
from lus_ray.runs import cell_predictions, cell_rows, predictions, trained_classes
from lus_ray.runs.cell import Cell, EpochCallback, cell_seed
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.cost import CostMeter, add_workers
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks.drawable import Drawable
from lus_ray.tasks.task import Task, with_arguments
from lus_ray.training import checkpoint, loop
from lus_ray.training.state import TrainingState

Predict = Callable[[Task, Sequence[Row]], Iterable[Prediction]]
"""Predictions of clips, in their order."""


def run(
    cell: Cell,
    plan: RunPlan,
    pixels: Pixels,
    report: EpochCallback,
    *,
    device: str = "cpu",
    fit: Callable[..., loop.FitResult] | None = None,
    predict: Predict | None = None,
) -> dict[str, float]:
    """Train, predict every clip of the fold, write the results; returns the validation scores.

    `fit` and `predict` replace `fit_task` and `predict_clips` where other processes train. Raises
    LusError if the cell fails.
    """
    meter = CostMeter(device)
    arm = trained_arm(cell, plan)
    fold = next(f for f in plan.folds if f.number == cell.fold)
    seed = cell_seed(plan.experiment.seed, cell)
    folder = plan.folder_of(cell)
    state = TrainingState(folder.state, upload=folder.live_upload())
    log = CellLog(folder, report)
    rows = cell_rows.rows_of(arm, fold, cell, plan)
    second = cell_rows.unlabelled_rows(arm, fold, plan)
    predict = predict or partial(cell_predictions.predict_clips, pixels=pixels, device=device)
    predict = partial(cell_predictions.predict_and_report, predict, report)
    train = make_trainer(
        arm, cell, plan, pixels, log, second=second, seed=seed, device=device,
        fit=fit or partial(fit_task, state=None if arm.crossfit else state),
    )  # fmt: skip
    if arm.crossfit:
        task, outputs, scores = _crossfit(arm, rows, train, predict, seed)
        trained = trained_classes.inherit(task, arm, cell, plan)  # test clips keep its predictions
    else:
        task, scores = train(rows)
        checkpoint.save(folder.checkpoint, task, checkpoint.describe(arm.task), seed=seed)
        if arm.rows.images:
            rows = [row for row in rows if row["split"] == "test"]
        outputs = list(predict(task, rows))
        trained = log.trained
    # Example images are compared between arms; of clips split at random, other arms have none.
    is_comparable = not (arm.crossfit or arm.rows.clips or task.reads_rows)
    is_first = not cell.seed and fold.number == min(f.number for f in plan.folds)
    if is_comparable and is_first and isinstance(task, Drawable):
        from lus_ray.runs import example_images  # needs matplotlib, which other cells do without

        example_images.draw(
            task, rows, pixels, folder.images, device=device,
            learns=arm.rows.learns, unlabelled=arm.rows.unlabelled,
        )  # fmt: skip
    table = [
        predictions.make_row(
            row,
            fold=fold.number,
            split=row["split"],
            prediction=prediction,
            target=None if task.scheme else cell_predictions.target_of(task, row),
        )
        for row, prediction in zip(rows, outputs, strict=True)
    ]
    cost = meter.stop()
    log.write_cost(add_workers(cost, folder) if fit is not None else cost, scores)
    info = predictions.PredictionInfo(
        arm=arm.name,
        fold=cell.fold,
        seed=cell.seed,
        label=arm.label,
        classes=tuple(task.classes),
        multilabel=task.multilabel,
        fingerprint=plan.fingerprint,
        by_frame=task.by_frame,
        inherited=task.inherited,
        scheme=task.scheme,
        trained=trained,
    )
    predictions.write(folder.predictions, table, info)
    state.remove()
    return scores


def trained_arm(cell: Cell, plan: RunPlan) -> Arm:
    """The arm as this cell trains it.

    With the settings of its sample, which leaves validation patients out of the training even
    where the arm trains on them; and in a run with searches, with the task of the arms whose
    networks it takes as they are, as these were trained.
    """
    arm = apply_settings(plan.experiment.arm(cell.arm), dict(cell.settings))
    if cell.sample is not None:
        arm = replace(arm, rows=replace(arm.rows, with_val=False))
    if not any(earlier.is_searched for earlier in plan.experiment.arms):
        return arm

    def task_of(name: str) -> Callable[[], Any]:
        folder = plan.folder_of(cell.input(name))
        return checkpoint.factory(checkpoint.read_description(folder.checkpoint))

    if arm.start is not None and arm.recipe is not None and not arm.recipe.epochs:
        return replace(arm, task=task_of(arm.start))
    if arm.members:
        members = tuple(task_of(name) for name in arm.members)
        return replace(arm, task=with_arguments(arm.task, {"members": members}))
    return arm


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
    """A function that trains on rows with a `split` and returns the task and validation scores."""

    def train_task(rows: Sequence[Row]) -> tuple[Any, dict[str, float]]:
        torch.manual_seed(seed)
        task = checkpoint.build(checkpoint.describe(arm.task))
        labelled = [row for row in rows if cell_predictions.target_of(task, row) is not None]
        train, note = cell_rows.training_rows(
            arm, [row for row in labelled if row["split"] == "train"]
        )
        log.notes += note
        selecting = "test" if arm.recipe and arm.recipe.select == "test" else "val"
        val = [row for row in labelled if row["split"] == selecting]
        if task.fits_in_one_call:
            log.trained = trained_classes.find(task, train, pixels)
            scores = task.fit_rows(train, val, seed=seed)
            if task.fits > 1 and not np.isfinite(scores["score"]):
                reason = f"no validation clip has a trained class of {arm.label}"
                log.notes += (f"{reason}: the first fit was kept",)
            log.log_epoch({"epoch": 0, **{f"val_{name}": value for name, value in scores.items()}})
            return task, scores
        if arm.start is not None:
            start = plan.folder_of(cell.input(arm.start)).checkpoint
            if arm.recipe is None or arm.recipe.epochs:
                checkpoint.initialize_from_checkpoint(task, start)
            else:
                load_weights(task, arm, arm.start, start, checkpoint.describe(arm.task))
        elif arm.weights is not None:
            checkpoint.initialize_from(task, Path(arm.weights))
        if arm.members:
            load_members(task, arm, cell, plan)
        if arm.recipe is None:
            log.trained = trained_classes.inherit(task, arm, cell, plan)
            return task.eval(), {}
        if not train:
            raise CellError(f"{cell.name}: no training clip has {arm.label}; add labelled clips")
        if arm.rows.unlabelled and not second:
            raise CellError(f"{cell.name}: no training clip equals {dict(arm.rows.unlabelled)}")
        if arm.rows.reduced:
            train = cell_rows.reduce_images(train, count_images(second), seed=plan.experiment.seed)
        log.trained = trained_classes.find(task, train, pixels) if task.classes else None
        fitted = fit(
            task, train, val, arm=arm, pixels=pixels, seed=seed, report=log.log_epoch,
            device=device, second=second, trained=log.trained,
        )  # fmt: skip
        log.notes += fitted.notes
        return task, fitted.scores

    return train_task


def load_members(task: Any, arm: Arm, cell: Cell, plan: RunPlan) -> None:
    """Load the weights of an ensemble's members; ArmError if one was trained otherwise."""
    members = checkpoint.describe(arm.task)["arguments"]["members"]
    for name, member, network in zip(arm.members, members, task.net, strict=True):
        folder = plan.folder_of(cell.input(name)).checkpoint
        load_weights(network, arm, name, folder, member["task"])


def load_weights(
    task: nn.Module, arm: Arm, name: str, folder: Path, expected: Mapping[str, Any]
) -> None:
    """Load all weights of the arm with this name; ArmError if its task is not the expected one."""
    if checkpoint.read_description(folder) != expected:
        raise ArmError(f"{arm.name}: {name!r} was trained with other settings; set both alike")
    task.load_state_dict(checkpoint.load_weights(folder))


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
    trained: Sequence[str] | None = None,
    rank: int = 0,
    workers: int = 1,
    **more: Any,
) -> loop.FitResult:
    """Train on rows, as the only worker or as one of several.

    With a `second` stream, an epoch has as many frames as the longer of the two. Validation leaves
    out targets of classes that are not `trained`; None for all.
    """
    recipe = arm.recipe
    assert recipe is not None
    balance = task.label if recipe.oversample == "label" else recipe.oversample
    view: Any = task.view
    by_frame = getattr(view, "is_per_frame", False)
    window = count_window(train, view, recipe.window) if by_frame else 0
    longer = max(count_images(train), count_images(second)) if second else 0
    epochs = partial(
        cell_predictions.pixel_source(task, pixels).epochs, view=view, batch=recipe.batch,
        by_frame=by_frame, num_samples=recipe.draws or longer, window=window, rank=rank,
        workers=workers,
    )  # fmt: skip
    batches = epochs(
        train, columns=task.columns, seed=seed, balance=balance, copies=recipe.copies,
        scheme=task.scheme, classes=task.classes,
    )  # fmt: skip
    if second:
        batches = pair_streams(batches, epochs(second, columns=(), seed=seed + 1))

    def validate(task: Task) -> dict[str, float]:
        number = recipe.val_samples
        outputs = cell_predictions.predict_clips(task, val, pixels, device, num_samples=number)
        targets = [cell_predictions.sampled_target(task, row, number) for row in val]
        pairs = zip(targets, outputs, strict=True)
        scored = [{"target": target, **prediction} for target, prediction in pairs]
        return task.score(trained_classes.keep_trained(task, scored, trained))

    return loop.fit(
        task, batches=batches, validate=validate, recipe=recipe, seed=seed, report=report,
        device=device, rank=rank, **more,
    )  # fmt: skip


def _crossfit(
    arm: Arm,
    rows: list[Row],
    train: Callable[[Sequence[Row]], tuple[Any, dict[str, float]]],
    predict: Predict,
    seed: int,
) -> tuple[Any, list[Prediction], dict[str, float]]:
    """Predictions of training clips by inner models that were not trained on them.

    Groups of clips are assigned to `crossfit` parts; each inner model trains on the other parts.
    Clips that do not train keep the predictions of the arm that is read.
    """
    groups = sorted({r["group"] for r in rows if r["split"] == "train"})
    order = np.random.default_rng(seed).permutation(len(groups))
    part = {groups[g]: i % arm.crossfit for i, g in enumerate(order)}
    outputs: dict[str, Prediction] = {
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
        names = [r["clip"] for r in held]
        task, score = train([r for r in rows if r["clip"] not in set(names)])
        predicted = predict(task, held)
        outputs |= zip(names, predicted, strict=True)
        scores.append(score)
    mean = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return task, [outputs[r["clip"]] for r in rows], mean
