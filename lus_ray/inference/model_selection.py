"""Selects the models of run folders that a service applies: which arm and which fold for each part.

Only finished cells are candidates. An arm that saw test data it must not see is never served, and
no test score selects anything: the fold and seed with the best validation score are served, and
models that read its predictions are served from the same fold and seed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lus_ray import study_files
from lus_ray.errors import CheckpointError, LusError, ServeError, StoreError
from lus_ray.inference.served_model import ModelKind, ServedModel
from lus_ray.runs import layout, leakage, manifest, predictions
from lus_ray.runs.layout import COST, MANIFEST, CellFolder, RunFolder
from lus_ray.runs.manifest import ArmRecord
from lus_ray.training.checkpoint import read_description

KINDS: dict[str, ModelKind] = {
    "Biomarkers": "backbone",
    "ClipLabel": "classifier",
    "Expert": "expert",
    "FrameScore": "frames",
    "VideoScore": "aggregator",
    "Segmentation": "segmenter",
    "Ensemble": "segmenter",
    "BinarySegmentation": "segmenter",
    "MatchedSegmentation": "segmenter",
}
"""By task name; other tasks are not served."""

READERS: dict[ModelKind, ModelKind] = {"backbone": "expert", "frames": "aggregator"}
"""By the kind that they read."""

LABELS = ("severity", "sf_ratio", "disease")
"""Labels of clips whose experts are served, in the order of the response."""

WATCHED_FILES = (
    MANIFEST,
    f"{layout.PREDICTIONS}/*/fold*.parquet",
    f"{layout.CELLS}/*/fold*/{COST}",
    f"{layout.CELLS}/*/fold*/{layout.CHECKPOINT}/*",
)
"""Files of a run that the selection depends on."""

OnSkip = Callable[[Path, str], None]
"""Receives a run and the reason why it, or models of it, are skipped."""

Snapshot = frozenset[tuple[str, int, int, int]]
"""Path, inode, size in bytes and modification time in nanoseconds of every file."""


@dataclass(frozen=True)
class ModelCandidate:
    """A finished cell that could be served, and what ranks it; its model has no fingerprint yet."""

    model: ServedModel
    task: str
    run_index: int
    arm_index: int
    score: float
    baseline: bool


def select_models(
    folders: Sequence[Path], *, on_skip: OnSkip | None = None
) -> tuple[ServedModel, ...]:
    """Select a backbone and its experts, a frame model and its aggregators, one network per label
    of clips, and a segmenter.

    Preferred are, in this order: models that others read, the first folder, the best validation
    score; and ensembles of segmenters over single ones. An unreadable folder after the first is
    passed to `on_skip` with the reason; without `on_skip` it is an error. So are models whose study
    file was not given.

    Raises:
        ServeError: two folders share a name, or a cell lacks its score.
        StoreError: a folder holds no run, or a prediction table is damaged.
        CheckpointError: a checkpoint is damaged.
    """
    names = [folder.resolve().name for folder in folders]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ServeError(f"two run folders are named {doubled[0]!r}; rename one")
    candidates: list[ModelCandidate] = []
    for index, folder in enumerate(folders):
        try:
            candidates += _read_candidates(folder, index, on_skip)
        except Exception as error:  # a damaged record may raise anything
            if index == 0 or on_skip is None:
                raise
            known = isinstance(error, LusError)
            why = error if known else f"{folder}: unreadable ({type(error).__name__}: {error})"
            on_skip(folder, " ".join(str(why).split()))
    by_kind = {kind: [c for c in candidates if c.model.kind == kind] for kind in KINDS.values()}
    chosen: list[ModelCandidate] = []
    for kind, reader_kind in READERS.items():
        readers = by_kind[reader_kind]
        read = {reader.model.reads for reader in readers}
        sources = [c for c in by_kind[kind] if c.model.id in read] or by_kind[kind]
        if source := _best(sources):
            own = (source.model.fold, source.model.seed)
            same = [r for r in readers if (r.model.fold, r.model.seed) == own]
            chosen += [source, *(r for r in same if r.model.reads == source.model.id)]
    networks = by_kind["classifier"]
    labels = {candidate.model.label for candidate in networks}
    for label in sorted(labels, key=lambda name: (name not in LABELS, name)):
        if network := _best([c for c in networks if c.model.label == label]):
            chosen.append(network)
    if segmenter := _best(by_kind["segmenter"], lambda c: (c.task != "Ensemble", c.baseline)):
        chosen.append(segmenter)
    return tuple(replace(m, fingerprint=hash_checkpoint(m.folder), on_gpu=_is_from_gpu(m))
                 for m in (candidate.model for candidate in chosen))  # fmt: skip


def neighbouring_runs(folder: Path) -> tuple[Path, ...]:
    """A run folder, followed by the other runs in its parent folder, sorted by name.

    Raises:
        StoreError: the folder holds no run.
    """
    folder = folder.resolve()
    manifest.read(folder)
    others = sorted(path.parent for path in folder.parent.glob(f"*/{MANIFEST}"))
    return (folder, *(other for other in others if other != folder))


def hash_checkpoint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def take_snapshot(folder: Path) -> Snapshot:
    """The state of `WATCHED_FILES` of a run and its neighbours; it changes when a file does."""
    states = set()
    for pattern in WATCHED_FILES:
        for path in folder.resolve().parent.glob(f"*/{pattern}"):
            try:
                state = path.stat()
            except OSError:  # removed meanwhile; the next snapshot differs
                continue
            states.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(states)


def _best(
    candidates: Sequence[ModelCandidate], rank: Callable[[ModelCandidate], Any] = lambda c: ()
) -> ModelCandidate | None:
    """The candidate with the lowest rank, then from the first run, then with the best score."""
    return min(
        candidates,
        key=lambda c: (rank(c), c.run_index, -c.score, c.arm_index, c.model.fold, c.model.seed),
        default=None,
    )


def _is_from_gpu(model: ServedModel) -> bool:
    return bool(_read_cost(CellFolder.at(model.folder.parent), lambda cost: cost.get("gpu_s")))


def _read_candidates(run: Path, run_index: int, on_skip: OnSkip | None) -> list[ModelCandidate]:
    record = manifest.read(run)
    arms = {arm.name: arm for arm in record.arms}
    order = {name: index for index, name in enumerate(arms)}
    leaky = leakage.leaks(record)
    candidates, reasons = [], set()
    # The prediction file names the arm of a cell; folder names are shortened.
    for cell in RunFolder(run).finished_cells():
        folder = cell.checkpoint
        if not (folder / "task.json").is_file():  # cross-fitted, or without weights
            continue
        description = read_description(folder)
        try:
            kind = _kind_of(description)
        except CheckpointError as error:  # its study file was not given
            if on_skip is None:
                raise CheckpointError(f"{folder}: {error}") from error
            reasons.add(f"{run}: models were skipped: {error}")
            continue
        if kind is None:
            continue
        about, _ = predictions.read(cell.predictions, columns=())
        arm = arms.get(about.arm)
        is_hidden = kind == "expert" and about.label not in LABELS
        if arm is None or arm.name in leaky or is_hidden:
            continue
        name, source = run.resolve().name, _source_arm(run, arm, arms)
        model = ServedModel(
            id=f"{name}/{about.arm}",
            run=name,
            arm=about.arm,
            fold=about.fold,
            seed=about.seed,
            kind=kind,
            label=about.label or "",
            folder=folder,
            fingerprint="",
            reads=f"{name}/{source}" if kind in READERS.values() else None,
        )
        score, baseline, task = _read_score(cell, arm), arm.baseline, description["name"]
        candidates.append(ModelCandidate(model, task, run_index, order[about.arm], score, baseline))
    if on_skip is not None:
        for reason in sorted(reasons):
            on_skip(run, reason)
    return sorted(candidates, key=lambda c: (c.arm_index, c.model.fold, c.model.seed))


def _kind_of(description: Mapping[str, Any]) -> ModelKind | None:
    """The kind of a task; of one of a study file, that of the task that it extends."""
    names = [description["name"]]
    if "file" in description:
        own = study_files.require(description["file"]).find(names[0])
        names += [base.__name__ for base in getattr(own, "__mro__", ())]
    return next((KINDS[name] for name in names if name in KINDS), None)


def _source_arm(run: Path, arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str | None:
    """The arm whose predictions for test clips are read: the one below any cross-fitting."""
    name = arm.reads
    while name is not None:
        if name not in arms:
            raise StoreError(
                f"{run / MANIFEST}: arm {arm.name!r} reads {name!r}, which is no arm; restore it"
            )
        if not arms[name].crossfit:
            break
        name = arms[name].reads
    return name


def _read_score(cell: CellFolder, arm: ArmRecord) -> float:
    """The validation score of a cell or the mean over its members; -inf where unknown."""
    folders = (other for name in arm.members for other in cell.run.finished_cells(name))
    for cells in ([cell], [other for other in folders if other.fold == cell.fold]):
        scores = [_read_cost(c, lambda cost: cost["val_scores"].get("score")) for c in cells]
        if known := [score for score in scores if score is not None]:
            return sum(known) / len(known)
    return float("-inf")


def _read_cost(cell: CellFolder, value: Callable[[dict[str, Any]], Any]) -> float | None:
    try:
        number = value(json.loads(cell.cost.read_text()))
        return None if number is None else float(number)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServeError(
            f"{cell.path}: no readable {COST} ({error}); remove the cell and run again"
        ) from error
