"""Predictions of a run's models for external clips, written as tables of an evaluation folder.

A model that reads an earlier arm reads that arm's external predictions of the same fold and seed. A
cross-fitted arm has no model of its own: it passes the predictions of the arm that it reads on, as
for the test clips of the run.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lus_ray.clip import Row, to_rows
from lus_ray.data import store
from lus_ray.data.loading import memmap
from lus_ray.data.loading.batches import FrameSize, Pixels, size_of
from lus_ray.data.transforms.view import View
from lus_ray.errors import StoreError
from lus_ray.evaluation import results
from lus_ray.inference.model_selection import hash_checkpoint
from lus_ray.predictor import Prediction
from lus_ray.runs import cell_predictions, cell_rows, predictions
from lus_ray.runs.layout import CellFolder, RunFolder
from lus_ray.runs.manifest import ArmRecord, RunRecord
from lus_ray.runs.predictions import PredictionInfo
from lus_ray.storage.paths import PathOrUri
from lus_ray.training import checkpoint

PASSED_ON = ("outputs", "features", "probability", "counts", "bins")


@dataclass(frozen=True)
class Model:
    """A finished cell of the run, and where its external predictions go.

    `fingerprint` is of its checkpoint and of those whose predictions it reads.
    """

    arm: ArmRecord
    cell: CellFolder
    target: CellFolder
    source: CellFolder | None
    fingerprint: str

    def is_predicted(self, clips: str) -> bool:
        """Whether the table holds its predictions for the clips of this fingerprint."""
        try:
            about, _ = predictions.read(self.target.predictions, ())
        except StoreError:
            return False
        return (about.model, about.fingerprint) == (self.fingerprint, clips)


def needed_arms(record: RunRecord, scored: Sequence[ArmRecord]) -> tuple[ArmRecord, ...]:
    """Arms with a score and those whose predictions they read, in the order of the run."""
    names = {arm.name for arm in scored}
    for arm in reversed(record.arms):
        if arm.name in names and arm.reads:
            names.add(arm.reads)
    return tuple(arm for arm in record.arms if arm.name in names)


def read_classes(run: RunFolder, arms: Sequence[ArmRecord]) -> dict[str, tuple[str, ...]]:
    """The classes of every label, from the first finished cell of it."""
    classes: dict[str, tuple[str, ...]] = {}
    for arm in arms:
        if arm.label and arm.label not in classes:
            for cell in run.finished_cells(arm.name)[:1]:
                classes[arm.label] = predictions.read(cell.predictions, ())[0].classes
    return classes


def find_models(
    run: RunFolder, out: RunFolder, arms: Sequence[ArmRecord]
) -> tuple[list[Model], list[str]]:
    """The models of these arms, sources first, and notes on cells without one."""
    models: dict[tuple[str, str], Model] = {}
    notes = []
    for arm in arms:
        cells = run.finished_cells(arm.name)
        lacking = []
        for cell in cells:
            source = models.get((arm.reads or "", cell.fold))
            has_model = bool(arm.crossfit) or (checkpoint.locate(cell.checkpoint)).is_dir()
            if not has_model or (arm.reads is not None and source is None):
                lacking.append(cell.fold)
                continue
            target = CellFolder(out, cell.arm, cell.fold)
            models[arm.name, cell.fold] = Model(
                arm,
                cell,
                target,
                source.target if source else None,
                _fingerprint(arm, cell, source),
            )
        if not cells:
            notes.append(f"arm {arm.name!r}: no finished cell")
        elif lacking:
            notes.append(f"arm {arm.name!r}: no model of {', '.join(lacking)}")
        elif arm.crossfit:
            notes.append(
                f"arm {arm.name!r}: no model of its own, has the predictions of {arm.reads}"
            )
    return list(models.values()), notes


def predict_missing(
    models: Sequence[Model],
    record: RunRecord,
    rows: Sequence[Row],
    data: PathOrUri,
    *,
    fingerprint: str,
    progress: Callable[[int, int, str], None],
    notify: Callable[[str], None],
) -> None:
    """Write the tables that are missing or stale, one model after the other.

    Frames are decoded and resized once per size, into mapped files that all models share.
    """
    missing = [model for model in models if not model.is_predicted(fingerprint)]
    notify(f"models: {len(missing)} to predict with, {len(models) - len(missing)} done before")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pixels = _open_pixels([m for m in missing if m.source is None], data, notify)
    for number, model in enumerate(missing):
        progress(number, len(missing), f"{model.arm.name}, {model.cell.fold}")
        _predict(model, record, rows, pixels, fingerprint=fingerprint, device=device)
    progress(len(missing), len(missing), "")


def _predict(
    model: Model,
    record: RunRecord,
    rows: Sequence[Row],
    pixels: Pixels,
    *,
    fingerprint: str,
    device: str,
) -> None:
    arm = model.arm
    if model.source is not None:
        rows = to_rows(predictions.read(model.source.predictions)[1])
    rows = [row for row in rows if cell_rows.is_wanted(arm, row)]
    if arm.crossfit:
        assert arm.task is not None
        task = checkpoint.build(arm.task)
        outputs: Iterator[Prediction] = map(_pass_on, rows)
    else:
        task = checkpoint.load(model.cell.checkpoint).to(device)
        outputs = cell_predictions.predict_clips(task, rows, pixels, device)
    about, _ = predictions.read(model.cell.predictions, ())
    table = [
        predictions.make_row(
            row,
            fold=about.fold,
            split="test",
            prediction=prediction,
            target=None if task.scheme else cell_predictions.target_of(task, row),
        )
        for row, prediction in zip(rows, outputs, strict=True)
    ]
    own = replace(
        about,
        fingerprint=fingerprint,
        model=model.fingerprint,
        trained=_trained_classes(model, about, record),
    )
    predictions.write(model.target.predictions, table, own)


def _pass_on(row: Row) -> Prediction:
    return {name: np.asarray(row[name], np.float32) for name in PASSED_ON if row[name] is not None}


def _trained_classes(
    model: Model, about: PredictionInfo, record: RunRecord
) -> tuple[str, ...] | None:
    """As the run recorded them, or as counted from a table of an earlier version."""
    if about.trained is not None:
        return about.trained
    marks = results.read_cell(model.cell, record).trained
    if marks is None:
        return None
    return tuple(name for name, mark in zip(about.classes, marks, strict=True) if mark)


def _fingerprint(arm: ArmRecord, cell: CellFolder, source: Model | None) -> str:
    parts = [cell.name] if arm.crossfit else [hash_checkpoint(checkpoint.locate(cell.checkpoint))]
    parts += [source.fingerprint] if source else []
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _open_pixels(models: Sequence[Model], data: PathOrUri, notify: Callable[[str], None]) -> Pixels:
    """Frames, and masks where a model segments, at every size that these models need."""
    frames: set[FrameSize] = set()
    masks: set[FrameSize] = set()
    for model in models:
        task: Any = checkpoint.build(checkpoint.read_description(model.cell.checkpoint))
        if isinstance(getattr(task, "view", None), View):
            frames.add(size_of(task.view))
            masks |= {size_of(task.view)} if task.scheme else set()
    mapped = memmap.plan_files(data, frames, masks)
    sizes = [*frames, *masks]
    num_frames = store.count_frames(data) if sizes else 0
    if memmap.has_room(mapped, sum(num_frames * size[0] * size[1] for size in sizes)):
        return memmap.attach(mapped, notify)
    from lus_ray.data.loading.streaming import StreamedFrames  # imports Ray

    notify("the disk has no room for resized frames: every model decodes the clips again")
    return StreamedFrames(str(data))
