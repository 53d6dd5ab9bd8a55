"""Patients, clips and classes of the splits of every fold, as its prediction tables list them.

Arms that leak are not counted: their splits are not those of the fold.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import lus_ray.folds as folds
from lus_ray.evaluation import mask_arms
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import SplitCounts
from lus_ray.runs import predictions
from lus_ray.runs.predictions import PredictionInfo


def count(run: RunResults) -> tuple[SplitCounts, ...]:
    """One entry per fold and split; without finished cells it knows only the patients.

    In an external validation, one entry alone: every fold tests the same clips.
    """
    counts = []
    is_external = run.record.evaluation_of is not None
    for number, fold in list(run.folds.items())[: 1 if is_external else None]:
        tables = list(_tables(run, number))
        for split in ("test",) if is_external else folds.SPLITS:
            clips: set[str] = set()
            classes: dict[str, dict[str, int]] = {}
            for info, table in tables:
                rows = table.filter(pc.equal(table["split"], split))
                clips.update(rows["clip"].to_pylist())
                if info.label and not info.multilabel:
                    classes[info.label] = _count_classes(rows, info)
            counts.append(
                SplitCounts(
                    fold=number,
                    split=split,
                    num_patients=len(getattr(fold, split)),
                    num_clips=len(clips) if tables else None,
                    classes=classes,
                )
            )
    return tuple(counts)


def _tables(run: RunResults, fold: int) -> Iterable[tuple[PredictionInfo, pa.Table]]:
    """The table of the first finished arm of each label."""
    labels = set()
    for arm in run.record.arms:
        cell = run.cells.get((arm.name, fold))
        if cell is not None and arm.label not in labels and arm.name not in run.leaks:
            labels.add(arm.label)
            yield predictions.read(cell.path, _columns)


def _columns(info: PredictionInfo) -> tuple[str, ...]:
    return ("clip", "split", "target" if info.scheme is None else "counts")


def _count_classes(rows: pa.Table, info: PredictionInfo) -> dict[str, int]:
    """Annotated clips by class; frames where each has its own class or shows a class of a mask."""
    if info.scheme is not None:
        known = rows.filter(rows["counts"].is_valid())
        shown = mask_arms.read_counts(known, info.scheme).sum(axis=2) > 0
        return dict(zip(info.classes, shown.sum(axis=0).tolist(), strict=True))
    targets = rows["target"].drop_null()
    if info.by_frame:
        targets = pc.list_flatten(targets)
    held = Counter(np.asarray(targets.to_numpy()).tolist())
    return {name: held[k] for k, name in enumerate(info.classes)}
