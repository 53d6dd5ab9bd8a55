"""The contents of a run folder: the experiment, its folds, and the results of its cells.

Shapes: N test examples with a target (clips, or the frames of all clips one after another),
M test images with a mask, K classes, B bins.
A cell is identified by the metadata of its prediction file, never by its path: writers shorten
folder names.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

import lus_ray.folds as folds
from lus_ray.errors import FoldError, StoreError
from lus_ray.evaluation import frame_arms, mask_arms
from lus_ray.folds import Fold
from lus_ray.metrics import classification, frames, multilabel
from lus_ray.metrics.frames import FrameSelection
from lus_ray.runs import cost, json_files, layout, leakage, manifest, predictions, trained_classes
from lus_ray.runs.layout import CellFolder, RunFolder
from lus_ray.runs.manifest import RunRecord
from lus_ray.runs.predictions import PredictionInfo
from lus_ray.storage.files import read_text

COLUMNS = ("clip", "patient", "split", "raters", "target", "probability")


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The test (or validation) examples with a target of one arm on one fold, cost and epochs.

    It is of the first finished training seed; `repeats` are those of the others.

    `target` (N) are class indices, or (N, K) entries 1, 0 and -1 where `multilabel`. `clips` and
    `patients` name the clip and the patient of each example. `members` selects the frames of each
    evaluation setting; None where an example is a clip. Where frames inherit the class of their
    clip, `frame_counts` counts the frames of each clip by their most probable class. `raters` and
    `predicted` (the most probable class) are of every test clip, annotated or not.

    For masks of a `scheme` an example is a frame: `counts` are its pixels by true and predicted
    class, `bins` is the histogram of confidences over all examples, `domains` are the domains of
    the frames ("" where unknown), and there are no targets and no probabilities.

    `trained` marks the classes that the model was trained on; None for all, or where unknown.
    """

    path: Path
    folder: Path
    arm: str
    fold: int
    classes: tuple[str, ...]
    fingerprint: str
    clips: tuple[str, ...]
    patients: tuple[str, ...]
    multilabel: bool = False
    target: Int[np.ndarray, "N"] | Int[np.ndarray, "N K"] = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )
    probability: Float[np.ndarray, "N K"] = field(default_factory=lambda: np.zeros((0, 0)))
    members: FrameSelection | None = None
    raters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    predicted: dict[str, int] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    epochs: tuple[dict[str, Any], ...] = ()
    scheme: str | None = None
    counts: Int[np.ndarray, "M K K"] | None = None
    bins: Float[np.ndarray, "B 3"] | None = None
    domains: tuple[str, ...] = ()
    frame_counts: Int[np.ndarray, "N K"] | None = None
    trained: Bool[np.ndarray, "K"] | None = None
    seed: int = 0
    repeats: tuple["CellResult", ...] = ()

    @property
    def by_seed(self) -> dict[int, "CellResult"]:
        return {cell.seed: cell for cell in (self, *self.repeats)}

    @property
    def has_frames(self) -> bool:
        return self.members is not None

    @property
    def annotated(self) -> Bool[np.ndarray, "N K"]:
        """Entries that the example is annotated with, of the labels that were trained."""
        return np.asarray(multilabel.keep_trained(self.target, self.trained) >= 0)

    @property
    def tested(self) -> Bool[np.ndarray, "K"]:
        """Classes that a test example has; of labels, those with a judged entry."""
        if self.counts is not None:
            return np.asarray(self.counts.sum(axis=(0, 2)) > 0)
        if self.multilabel:
            return np.asarray((self.target >= 0).any(axis=0))
        return np.isin(np.arange(len(self.classes)), self.target)

    def knows(self, k: int) -> bool:
        """Whether class `k` was trained, as far as is known."""
        return self.trained is None or bool(self.trained[k])

    @property
    def num_clips(self) -> int:
        return len(set(self.clips))

    @property
    def num_patients(self) -> int:
        return len(set(self.patients))


@dataclass(frozen=True)
class RunResults:
    """A run folder in memory; `leaks` are the kinds of leak of every arm that leaks."""

    out: Path
    record: RunRecord
    folds: dict[int, Fold]
    cells: dict[tuple[str, int], CellResult]
    leaks: dict[str, tuple[str, ...]]
    at_random: set[str]
    """Arms that test images or clips of any patient, or read such an arm."""


def read(out: Path) -> RunResults:
    """Read everything that a report needs from a run folder.

    Raises:
        StoreError: a file is missing or damaged, or two files claim the same cell.
        FoldError: a prediction tests a patient that its fold does not test.
    """
    record = manifest.read(out)
    fold_by_number = {fold.number: fold for fold in folds.read(out / layout.FOLDS)}
    # Clips of other patients are new to every model, whatever the splits of its training.
    is_external = record.evaluation_of is not None
    at_random = set() if is_external else leakage.arms_split_at_random(record)
    leaks = {} if is_external else leakage.leaks(record)
    found: dict[tuple[str, int], dict[int, CellResult]] = {}
    for files in RunFolder(out).finished_cells():
        cell = read_cell(files, record)
        own = found.setdefault((cell.arm, cell.fold), {})
        if cell.seed in own:
            raise StoreError(
                f"{cell.path}: a second file for arm {cell.arm!r}, fold {cell.fold}; remove one"
            )
        _check_patients(cell, fold_by_number, any_patient=cell.arm in at_random)
        own[cell.seed] = cell
    cells = {}
    for key, own in found.items():
        first, *others = (own[seed] for seed in sorted(own))
        cells[key] = replace(first, repeats=tuple(others))
    return RunResults(out, record, fold_by_number, cells, leaks, at_random)


def read_cell(files: CellFolder, record: RunRecord, *, split: str = "test") -> CellResult:
    """The examples of one split of a cell, "test" or "val"; StoreError if its table is damaged."""
    path = files.predictions
    about, table = predictions.read(path, _columns)
    try:
        if about.scheme is not None:
            examples = _mask_examples(_rows_of(split, table, "counts"), about)
        else:
            examples = _examples(_rows_of(split, table, "probability"), about)
        return CellResult(
            path=path,
            folder=files.path,
            arm=about.arm,
            fold=about.fold,
            seed=about.seed,
            classes=about.classes,
            fingerprint=about.fingerprint,
            cost=cost.read(files.cost),
            epochs=tuple(json_files.parse_json_lines(read_text(files.metrics) or "")),
            scheme=about.scheme,
            trained=_find_trained(table, about, record),
            **examples,
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            f"{path}: not a prediction table ({reason}); remove it and run again"
        ) from error


def _find_trained(
    table: pa.Table, about: PredictionInfo, record: RunRecord
) -> Bool[np.ndarray, "K"] | None:
    """The classes of the training rows, recorded or, in a table of an earlier version, counted."""
    names = about.trained
    if names is None:
        arm = next((arm for arm in record.arms if arm.name == about.arm), None)
        rows = table.filter(pc.equal(table["split"], "train"))
        rows = rows.filter(rows["target" if about.scheme is None else "counts"].is_valid())
        if arm is None or arm.rows.train_without or arm.weights or not len(rows):
            return None
        if about.scheme is not None:
            held = mask_arms.read_counts(rows, about.scheme).sum(axis=(0, 2)) > 0
            return None if held.all() else held
        targets = rows["target"].to_pylist()
        names = trained_classes.of_targets(targets, about.classes, multilabel=about.multilabel)
    trained = np.isin(about.classes, names)
    return None if trained.all() else trained


def _columns(about: PredictionInfo) -> tuple[str, ...]:
    if about.scheme is not None:
        return mask_arms.COLUMNS
    return (*COLUMNS, "outputs") if about.by_frame or about.inherited else COLUMNS


def _examples(rows: pa.Table, about: PredictionInfo) -> dict[str, Any]:
    annotated = rows.filter(rows["target"].is_valid())
    clips, patients = annotated["clip"].to_pylist(), annotated["patient"].to_pylist()
    members, frame_counts = None, None
    if about.inherited:
        frame_counts = frame_arms.count_frames(annotated, len(about.classes))
    if about.by_frame:
        target, probability, num_frames = frame_arms.read_targets(annotated)
        columns = (annotated[name].to_pylist() for name in ("target", "raters"))
        members = frames.select_frames(*columns)
        clips, patients = (
            frame_arms.repeat_names(names, num_frames) for names in (clips, patients)
        )
        classification.check_arrays(target, probability)
    else:
        target, probability = _clip_arrays(annotated, about)
    return {
        "multilabel": about.multilabel,
        "clips": tuple(clips),
        "patients": tuple(patients),
        "target": target,
        "probability": probability,
        "members": members,
        "frame_counts": frame_counts,
        "raters": {clip: tuple(scores) for clip, scores in _by_clip(rows, "raters") if scores},
        "predicted": {
            clip: int(np.argmax(np.array(probability, np.float64)))
            for clip, probability in _by_clip(rows, "probability")
        },
    }


def _mask_examples(rows: pa.Table, about: PredictionInfo) -> dict[str, Any]:
    num_frames = mask_arms.num_frames(rows)
    clips, patients, domains = (
        frame_arms.repeat_names([name or "" for name in rows[column].to_pylist()], num_frames)
        for column in ("clip", "patient", "domain")
    )
    return {
        "clips": clips,
        "patients": patients,
        "probability": np.zeros((0, len(about.classes))),
        "counts": mask_arms.read_counts(rows, about.scheme or ""),
        "bins": mask_arms.sum_bins(rows),
        "domains": domains,
    }


def _rows_of(split: str, table: pa.Table, column: str) -> pa.Table:
    chosen = pc.and_(pc.equal(table["split"], split), table[column].is_valid())
    return table.filter(chosen).sort_by("clip")


def _by_clip(rows: pa.Table, column: str) -> Iterator[tuple[str, Any]]:
    return zip(rows["clip"].to_pylist(), rows[column].to_pylist(), strict=True)


def _clip_arrays(
    rows: pa.Table, about: PredictionInfo
) -> tuple[np.ndarray, Float[np.ndarray, "N K"]]:
    target = np.array(rows["target"].to_pylist(), np.int64)
    probability = np.array(rows["probability"].to_pylist(), np.float64)
    if not len(rows):
        empty = np.zeros((0, len(about.classes)))
        return empty.astype(np.int64) if about.multilabel else target, empty
    if not about.multilabel:
        classification.check_arrays(target, probability)
    elif target.shape != probability.shape:
        raise ValueError(f"targets {target.shape} for probabilities {probability.shape}")
    return target, probability


def _check_patients(
    cell: CellResult, fold_by_number: dict[int, Fold], *, any_patient: bool
) -> None:
    if cell.fold not in fold_by_number:
        raise FoldError(f"{cell.path}: fold {cell.fold} is not in folds.json; remove the file")
    unexpected = sorted(set(cell.patients) - set(fold_by_number[cell.fold].test))
    if unexpected and not any_patient:
        raise FoldError(
            f"{cell.path}: tests patient {unexpected[0]!r}, who is not a test patient of fold "
            f"{cell.fold} in folds.json; the file belongs to other folds, remove it and run again"
        )
