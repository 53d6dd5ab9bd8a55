"""The models that run folders offer to a service: which arm, of which fold, for which part.

Only finished cells are looked at. An arm that saw of the test side what it should not is never
offered, and no test score chooses anything: of the folds of an arm the one with the best
validation score is served, and what reads that arm is served of the same fold.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lus_ray.errors import LusError, ServeError
from lus_ray.runs import layout as run_folder
from lus_ray.runs import leakage, predictions
from lus_ray.training.checkpoint import read_description

Kind = Literal["backbone", "expert", "frames", "aggregator", "segmenter"]

KINDS: dict[str, Kind] = {
    "Biomarkers": "backbone",
    "Expert": "expert",
    "FrameScore": "frames",
    "VideoScore": "aggregator",
    "Segmentation": "segmenter",
    "Ensemble": "segmenter",
    "Outline": "segmenter",
    "Matched": "segmenter",
}
"""The part that a task of this name plays; other tasks are not served."""

LABELS = ("severity", "sf_ratio", "disease")
"""Labels of clips whose experts are served, in the order of the answer."""


@dataclass(frozen=True)
class Model:
    """A checkpoint that is served.

    `id` is "<run>/<arm>", `run` the name of the run's folder, `folder` that of the checkpoint.
    `label` is what it predicts. `fingerprint` is the SHA-256 over the files of the checkpoint.
    `reads` is the id of the model whose answers are its input. `on_gpu` says that a GPU computed
    its stored predictions.
    """

    id: str
    run: str
    arm: str
    fold: int
    kind: Kind
    label: str
    folder: Path
    fingerprint: str
    reads: str | None = None
    on_gpu: bool = False

    @property
    def run_folder(self) -> Path:
        """The folder of its run."""
        return self.folder.parents[3]

    @property
    def predictions(self) -> Path:
        """What it said of every clip of its fold when it was trained."""
        cell = self.folder.parent
        return self.run_folder / "predictions" / cell.parent.name / f"{cell.name}.parquet"


@dataclass(frozen=True)
class Offer:
    """A finished cell that could be served.

    `place` and `order` are those of its run among the folders and of its arm in the record.
    `score` is its validation score, `reads` the arm of the same run that it reads.
    """

    run: Path
    place: int
    arm: str
    order: int
    fold: int
    kind: Kind
    task: str
    label: str
    folder: Path
    score: float
    baseline: bool
    reads: str | None


def find(
    folders: Sequence[Path], *, left_out: Callable[[Path, str], None] | None = None
) -> tuple[Model, ...]:
    """The models of run folders: one backbone and its experts, one frame model and its
    aggregators, one segmenter, as far as there are any.

    A backbone or frame model that others read comes before one that nothing reads, then the
    folder that is named first, then the better validation score. An ensemble of segmenters comes
    before single ones. `left_out` is told of a folder after the first that cannot be read, and
    why; without it that is an error.

    Raises:
        ServeError: two folders have one name, or a cell does not tell its score.
        StoreError: a folder holds no run, or a prediction table is damaged.
        CheckpointError: a checkpoint is damaged.
    """
    names = [folder.resolve().name for folder in folders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ServeError(f"two run folders are named {twice[0]!r}; rename one")
    offers: list[Offer] = []
    for place, folder in enumerate(folders):
        try:
            offers += _offers(folder, place)
        except Exception as error:  # a record may be wrong in any way
            if place == 0 or left_out is None:
                raise
            known = isinstance(error, LusError)
            why = error if known else f"{folder}: cannot be read ({type(error).__name__}: {error})"
            left_out(folder, " ".join(str(why).split()))
    found: list[Model] = []
    for kind, reader in (("backbone", "expert"), ("frames", "aggregator")):
        readers = [offer for offer in offers if offer.kind == reader]
        chosen = _chosen([offer for offer in offers if offer.kind == kind], _read_by(readers))
        if chosen is not None:
            source = _model(chosen)
            found.append(source)
            found += [_model(one, reads=source.id) for one in readers if _reads(one, chosen)]
    outlining = [offer for offer in offers if offer.kind == "segmenter"]
    best = _chosen(outlining, lambda offer: (offer.task != "Ensemble", offer.baseline))
    return tuple(found if best is None else [*found, _model(best)])


def beside(folder: Path) -> tuple[Path, ...]:
    """A run folder, and the runs that lie next to it, by name.

    Raises:
        StoreError: the folder holds no run.
    """
    folder = folder.resolve()
    run_folder.record(folder)
    others = sorted(path.parent for path in folder.parent.glob(f"*/{run_folder.RECORD}"))
    return (folder, *(other for other in others if other != folder))


def _chosen(offers: Sequence[Offer], rank: Callable[[Offer], tuple[bool, ...]]) -> Offer | None:
    """The arm with the lowest rank, in the first folder, with the best score; its best fold."""
    if not offers:
        return None
    return min(offers, key=lambda o: (rank(o), o.place, -o.score, o.order, o.fold))


def _read_by(readers: Sequence[Offer]) -> Callable[[Offer], tuple[bool, ...]]:
    """Arms that something reads come before those that nothing reads."""
    read = {(reader.place, reader.reads) for reader in readers}
    return lambda offer: ((offer.place, offer.arm) not in read,)


def _reads(reader: Offer, source: Offer) -> bool:
    return (reader.place, reader.fold, reader.reads) == (source.place, source.fold, source.arm)


def _model(offer: Offer, reads: str | None = None) -> Model:
    run = offer.run.resolve().name
    return Model(
        id=f"{run}/{offer.arm}",
        run=run,
        arm=offer.arm,
        fold=offer.fold,
        kind=offer.kind,
        label=offer.label,
        folder=offer.folder,
        fingerprint=fingerprint(offer.folder),
        reads=reads,
        on_gpu=_on_gpu(offer.folder.parent),
    )


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of the files of a checkpoint."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _offers(run: Path, place: int) -> list[Offer]:
    """The finished cells of a run that could be served, in the order of its arms."""
    record = run_folder.record(run)
    arms = {entry["name"]: entry for entry in record["arms"]}
    order = {name: number for number, name in enumerate(arms)}
    leaky = leakage.leaks(record)
    found = []
    # The arm of a cell is told by its prediction file; folder names are shortened.
    for path in sorted((run / "predictions").glob("*/fold*.parquet")):
        cell = run / "cells" / path.parent.name / path.stem
        folder = cell / "checkpoint"
        if not (folder / "task.json").is_file():  # cross-fitted, or without anything to keep
            continue
        description = read_description(folder)
        kind = KINDS.get(description["name"])
        if kind is None:
            continue
        about, _ = predictions.read(path, columns=())
        entry = arms.get(about.arm)
        if entry is None or entry["name"] in leaky or not _is_served(kind, about.label):
            continue
        found.append(
            Offer(
                run=run,
                place=place,
                arm=about.arm,
                order=order[about.arm],
                fold=about.fold,
                kind=kind,
                task=description["name"],
                label=about.label or "",
                folder=folder,
                score=_score(cell, entry, run, arms),
                baseline=bool(entry.get("baseline")),
                reads=_source(entry, arms),
            )
        )
    return sorted(found, key=lambda offer: (offer.order, offer.fold))


def _is_served(kind: Kind, label: str | None) -> bool:
    return kind != "expert" or label in LABELS


def _source(entry: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The arm that is read at the test side: that below any cross-fitting."""
    name = entry.get("reads")
    while name is not None and arms[name].get("crossfit"):
        name = arms[name].get("reads")
    return name


def _score(cell: Path, entry: Mapping[str, Any], run: Path, arms: Mapping[str, Any]) -> float:
    """The validation score of a cell, or the mean over its members; below all where unknown."""
    own = _val_score(cell)
    members = set(entry.get("members") or ())
    if own is not None or not members:
        return float("-inf") if own is None else own
    about = {path: predictions.read(path, columns=())[0] for path in _of_fold(run, cell.name)}
    cells = [run / "cells" / path.parent.name / cell.name for path in about
             if about[path].arm in members]  # fmt: skip
    scores = [score for score in map(_val_score, cells) if score is not None]
    return sum(scores) / len(scores) if scores else float("-inf")


def _of_fold(run: Path, fold: str) -> list[Path]:
    return sorted((run / "predictions").glob(f"*/{fold}.parquet"))


def _val_score(cell: Path) -> float | None:
    """The score that `cost.json` has of the validation side."""
    return _from_cost(cell, lambda cost: cost["val_scores"].get("score"))


def _on_gpu(cell: Path) -> bool:
    """Whether `cost.json` has seconds of a GPU."""
    return bool(_from_cost(cell, lambda cost: cost.get("gpu_s")))


def _from_cost(cell: Path, value: Callable[[dict[str, Any]], Any]) -> float | None:
    try:
        told = value(json.loads((cell / "cost.json").read_text()))
        return None if told is None else float(told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServeError(
            f"{cell}: no readable cost.json ({error}); remove the cell and run again"
        ) from error
