"""What a run directory holds: the experiment, its folds, and one cell per arm and fold.

    experiment.json                      arms, recipes, published values, claims
    folds.json                           patients of every fold
    predictions/<arm>/fold<k>.parquet    a clip table with probabilities instead of pixels
    cells/<arm>/fold<k>/                 cost.json, metrics.jsonl, checkpoint, pictures

Letters: N test examples with a target (clips, or the frames of all clips one after another),
M test images with a mask, K classes, B bins.
Folder names are shortened by whoever writes them, so a cell is known by the metadata of its
prediction file, never by its path.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from lus_ray import folds
from lus_ray.errors import FoldError, StoreError
from lus_ray.evaluation import frame_arms, mask_arms
from lus_ray.folds import Fold
from lus_ray.metrics.frames import FrameSelection
from lus_ray.runs import layout, leakage, predictions
from lus_ray.runs.predictions import About
from lus_ray.storage.files import read_text

COLUMNS = ("clip", "patient", "split", "raters", "target", "probability")


@dataclass(frozen=True)
class Cell:
    """The test examples with a target of one arm on one fold, what it cost, and its epochs.

    `target` (N) are class indices, or (N, K) entries 1, 0 and -1 where `multilabel`. `clips` and
    `patients` say of whom each example is. `members` says which frames each evaluation setting
    scores; None where a clip is one example. Where masks of a `scheme` were outlined, an example
    is a frame, `counts` are its pixels by true and predicted class, `bins` is the histogram of
    their confidences over all examples, and there are no targets and no probabilities.
    `domains` says where each such frame comes from, "" where that is not known; it is empty for
    other labels. Where frames inherit the class of their clip, `said` counts the frames of each
    clip by their most probable class. `raters` and `decided` (the most probable class) are of every
    test clip, annotated or not.
    """

    path: Path
    folder: Path
    arm: str
    fold: int
    classes: tuple[str, ...]
    multilabel: bool
    fingerprint: str
    clips: tuple[str, ...]
    patients: tuple[str, ...]
    target: Int[np.ndarray, "N"] | Int[np.ndarray, "N K"]
    probability: Float[np.ndarray, "N K"]
    members: FrameSelection | None
    raters: dict[str, tuple[int, ...]]
    decided: dict[str, int]
    cost: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    scheme: str | None = None
    counts: Int[np.ndarray, "M K K"] | None = None
    bins: Float[np.ndarray, "B 3"] | None = None
    domains: tuple[str, ...] = ()
    said: Int[np.ndarray, "N K"] | None = None

    @property
    def by_frame(self) -> bool:
        """Whether an example is a frame with a score, not a clip."""
        return self.members is not None

    @property
    def num_clips(self) -> int:
        """Test clips with a target."""
        return len(set(self.clips))

    @property
    def num_patients(self) -> int:
        """Patients among the test clips with a target."""
        return len(set(self.patients))


@dataclass(frozen=True)
class Run:
    """A run directory in memory."""

    out: Path
    experiment: dict[str, Any]
    folds: dict[int, Fold]
    cells: dict[tuple[str, int], Cell]


def read(out: Path) -> Run:
    """Everything the report needs of a run directory.

    Raises:
        StoreError: a file is missing or damaged, or two files claim to be one cell.
        FoldError: a prediction tests a patient that its fold does not test.
    """
    experiment = layout.record(out)
    dealt = {fold.number: fold for fold in folds.read(out / layout.FOLDS)}
    at_random = leakage.arms_split_at_random(experiment)
    cells: dict[tuple[str, int], Cell] = {}
    for path in sorted(out.glob("predictions/*/fold*.parquet")):
        cell = _cell(path, out)
        if (cell.arm, cell.fold) in cells:
            raise StoreError(f"{path}: arm {cell.arm!r} fold {cell.fold} is here twice; remove one")
        _check_patients(cell, dealt, path, any_patient=cell.arm in at_random)
        cells[cell.arm, cell.fold] = cell
    return Run(out, experiment, dealt, cells)


def _cell(path: Path, out: Path) -> Cell:
    about, table = predictions.read(path, _columns)
    folder = out / "cells" / path.parent.name / path.stem
    try:
        if about.scheme is not None:
            examples = _of_masks(_outlined(table), about.scheme, len(about.classes))
        else:
            examples = _of_rows(_tested(table), about)
        return Cell(
            path=path,
            folder=folder,
            arm=about.arm,
            fold=about.fold,
            classes=about.classes,
            fingerprint=about.fingerprint,
            cost=_cost(folder),
            epochs=tuple(layout.lines(read_text(folder / "metrics.jsonl") or "")),
            scheme=about.scheme,
            **examples,
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            f"{path}: not a prediction table ({reason}); remove it and run again"
        ) from error


def _columns(about: About) -> tuple[str, ...]:
    """What is read of a prediction table, by what it predicts."""
    if about.scheme is not None:
        return mask_arms.COLUMNS
    return (*COLUMNS, "outputs") if about.by_frame or about.inherited else COLUMNS


def _of_rows(rows: pa.Table, about: About) -> dict[str, Any]:
    """The fields of a cell that say of clips, or of their frames, what was true and predicted."""
    scored = rows.filter(rows["target"].is_valid())
    clips, patients = scored["clip"].to_pylist(), scored["patient"].to_pylist()
    members = None
    said = frame_arms.said(scored, len(about.classes)) if about.inherited else None
    if about.by_frame:
        target, probability, num_frames = frame_arms.arrays(scored)
        members = frame_arms.members(scored)
        clips, patients = (frame_arms.repeated(names, num_frames) for names in (clips, patients))
        _check_classes(target, probability)
    else:
        target, probability = _arrays(scored, multilabel=about.multilabel)
    return {
        "multilabel": about.multilabel,
        "clips": tuple(clips),
        "patients": tuple(patients),
        "target": target,
        "probability": probability,
        "members": members,
        "said": said,
        "raters": _raters(rows),
        "decided": _decided(rows),
    }


def _of_masks(rows: pa.Table, scheme: str, num_classes: int) -> dict[str, Any]:
    """The same fields where masks were outlined: of each frame its counts of pixels, no targets."""
    num_frames = mask_arms.num_frames(rows)
    clips, patients, domains = (
        frame_arms.repeated([name or "" for name in rows[column].to_pylist()], num_frames)
        for column in ("clip", "patient", "domain")
    )
    return {
        "multilabel": False,
        "clips": clips,
        "patients": patients,
        "target": np.zeros(0, np.int64),
        "probability": np.zeros((0, num_classes)),
        "members": None,
        "raters": {},
        "decided": {},
        "counts": mask_arms.counts(rows, scheme),
        "bins": mask_arms.bins(rows),
        "domains": domains,
    }


def _outlined(table: pa.Table) -> pa.Table:
    """Test rows with counts of pixels, in the order of their clip names."""
    tested = pc.and_(pc.equal(table["split"], "test"), table["counts"].is_valid())
    return table.filter(tested).sort_by("clip")


def _tested(table: pa.Table) -> pa.Table:
    """Test rows with a probability, in the order of their clip names."""
    tested = pc.and_(pc.equal(table["split"], "test"), table["probability"].is_valid())
    return table.filter(tested).sort_by("clip")


def _raters(rows: pa.Table) -> dict[str, tuple[int, ...]]:
    pairs = zip(rows["clip"].to_pylist(), rows["raters"].to_pylist(), strict=True)
    return {clip: tuple(given) for clip, given in pairs if given}


def _decided(rows: pa.Table) -> dict[str, int]:
    """The most probable class of each clip, the first of equals."""
    pairs = zip(rows["clip"].to_pylist(), rows["probability"].to_pylist(), strict=True)
    return {clip: int(np.argmax(np.array(probability, np.float64))) for clip, probability in pairs}


def _arrays(rows: pa.Table, *, multilabel: bool) -> tuple[np.ndarray, Float[np.ndarray, "N K"]]:
    target = np.array(rows["target"].to_pylist(), np.int64)
    probability = np.array(rows["probability"].to_pylist(), np.float64)
    if not len(rows):
        return target, probability.reshape(0, 0)
    if multilabel and target.shape != probability.shape:
        raise ValueError(f"targets {target.shape} for probabilities {probability.shape}")
    if not multilabel:
        _check_classes(target, probability)
    return target, probability


def _check_classes(target: np.ndarray, probability: np.ndarray) -> None:
    num_classes = probability.shape[1]
    if len(target) and not 0 <= target.min() <= target.max() < num_classes:
        raise ValueError(f"targets {target.min()}..{target.max()} for {num_classes} classes")


def _check_patients(cell: Cell, dealt: dict[int, Fold], path: Path, *, any_patient: bool) -> None:
    if cell.fold not in dealt:
        raise FoldError(f"{path}: fold {cell.fold} is not in folds.json; remove the file")
    if any_patient:
        return
    if strange := sorted(set(cell.patients) - set(dealt[cell.fold].test)):
        raise FoldError(
            f"{path}: tests patient {strange[0]!r}, whom fold {cell.fold} of folds.json does not "
            "test; the file is of other folds, remove it and run again"
        )


def _cost(folder: Path) -> dict[str, Any]:
    path = folder / "cost.json"
    cost = layout.read_json(path) if path.exists() else {}
    if not isinstance(cost, dict):
        raise StoreError(f"{path}: no costs of a cell; remove its predictions and run again")
    return cost
