"""The clips of a cell: the split of each, and which of them the arm may train on.

Two published protocols of Gare 2021 leak by design: `split_images` assigns the six copies of every
frame to three folds at random (section 3.1), `split_clips` whole clips, balanced in class.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.clip import Row, to_rows
from lus_ray.data.labels import class_index
from lus_ray.data.loading import sampler
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.experiment import Arm, Rows
from lus_ray.folds import Fold
from lus_ray.runs import leakage, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.manifest import ArmRecord
from lus_ray.runs.plan import RunPlan

UNLABELLED_COLUMNS = (
    "clip", "patient", "group", "source", "domain", "height", "width", "num_frames", "images",
)  # fmt: skip
MAX_KEPT_BYTES = 4 << 20
"""Size of a prediction table up to which a process keeps its rows."""


def rows_of(arm: Arm, fold: Fold, cell: Cell, plan: RunPlan) -> list[Row]:
    """The clips of this fold with their `split`, and with the outputs of the arm that is read."""
    if arm.reads is not None:
        source = plan.folder_of(cell.input(arm.reads))
        clips = _read_clips(source.predictions)
        if arm.reads in leakage.arms_split_at_random(plan.experiment):
            return [{**row} for row in clips if is_wanted(arm, row)]  # with the splits of that arm
    else:
        clips = list(plan.rows)
    return assign_splits(arm, clips, fold, num_folds=len(plan.folds), seed=plan.experiment.seed)


def _read_clips(path: Path) -> Sequence[Row]:
    """The rows of a prediction table; a small one is read once for all cells of a process."""
    status = path.stat() if path.exists() else None
    if status is None or status.st_size > MAX_KEPT_BYTES:
        return to_rows(predictions.read(path)[1])
    return _keep_clips(path, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _keep_clips(path: Path, mtime_ns: int) -> Sequence[Row]:
    return to_rows(predictions.read(path)[1])


def assign_splits(
    arm: Arm, clips: Iterable[Row], fold: Fold, *, num_folds: int, seed: int
) -> list[Row]:
    """The clips of the arm in a fold, as rows of their own with a `split`."""
    rows = [{**row, "split": split_of(arm.rows, row, fold)} for row in clips]
    kept = [row for row in rows if row["split"] is not None and is_wanted(arm, row)]
    kept = [row for row in kept if row["split"] == "test" or has_values(row, arm.rows.learns)]
    settings = {"fold": fold.number, "num_folds": num_folds, "seed": seed}
    if arm.rows.images:
        return split_images([row for row in kept if row["mask_scheme"] is not None], **settings)
    if arm.rows.clips:
        classes = getattr(arm.task, "keywords", {}).get("classes", ())
        return split_clips(kept, str(arm.label), classes=classes, **settings)
    return kept


def split_images(rows: Sequence[Row], *, fold: int, num_folds: int, seed: int) -> list[Row]:
    """Each clip twice: with its images of the other folds to train, and with those of `fold`.

    `images` of a row lists (frame, copy). The same seed gives every fold the same partition.
    """
    rows = sorted(rows, key=lambda row: row["clip"])
    listed = [
        (clip, frame, copy)
        for clip, row in enumerate(rows)
        for frame in range(row["num_frames"])
        for copy in range(len(SIX_COPIES))
    ]
    order = np.random.default_rng(seed).permutation(len(listed))
    images: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for position, number in enumerate(order):
        clip, frame, copy = listed[number]
        images.setdefault((clip, _split_at(position, fold, num_folds)), []).append((frame, copy))
    return [
        {**rows[clip], "split": split, "images": sorted(own)}
        for (clip, split), own in sorted(images.items())
    ]


def split_clips(
    rows: Sequence[Row], label: str, *, fold: int, num_folds: int, seed: int,
    classes: Sequence[str] = (),
) -> list[Row]:  # fmt: skip
    """Each clip with a class of this label once: to test in its own fold, to train in the others.

    Classes are balanced in number of clips. The same seed gives every fold the same partition.
    """
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["clip"]):
        if (number := class_index(label, row, classes)) is not None:
            by_class.setdefault(number, []).append(row)
    order = [by_class[k][n] for k in sorted(by_class) for n in rng.permutation(len(by_class[k]))]
    assigned = [{**row, "split": _split_at(n, fold, num_folds)} for n, row in enumerate(order)]
    return sorted(assigned, key=lambda row: row["clip"])


def split_of(wanted: Rows, row: Row, fold: Fold) -> str | None:
    """The split of a clip in a fold; None for a clip without one, or one that may only train."""
    split = fold.split_of(row["patient"])
    split = "train" if split == "val" and wanted.with_val else split
    if wanted.train_without is None or row[wanted.train_without] is not None:
        return split
    if wanted.overlap:
        return "train"
    return "train" if split == "train" else None


def training_rows(arm: Arm, train: list[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The clips that this arm may train on, and a note where that is not as planned."""
    label = arm.rows.train_without
    if label is None:
        return train, ()
    without_label = [row for row in train if row[label] is None]
    if without_label:
        return without_label, ()
    return train, (f"every training clip has a {label}: trained on the clips it is read for",)


def unlabelled_rows(arm: Arm, fold: Fold, plan: RunPlan) -> list[Row]:
    """The training clips of the second stream, without any label."""
    if not arm.rows.unlabelled:
        return []
    return [
        {**{name: row[name] for name in UNLABELLED_COLUMNS if name in row}, "split": "train"}
        for row in plan.rows
        if split_of(arm.rows, row, fold) == "train" and has_values(row, arm.rows.unlabelled)
    ]


def reduce_images(train: Sequence[Row], number: int, *, seed: int) -> list[Row]:
    """Clips with `number` of their frames in all, of each patient in proportion; at most all."""
    images = [
        (row["patient"], clip, frame, copy)
        for clip, row in enumerate(train)
        for frame, copy in sampler.images_of(row, 1).tolist()
    ]
    if number >= len(images):
        return list(train)
    rng = np.random.default_rng(seed)
    patients = sorted({patient for patient, *_ in images})
    by_patient = {name: [image for image in images if image[0] == name] for name in patients}
    exact = np.array([number * len(by_patient[name]) / len(images) for name in patients])
    share = np.floor(exact).astype(int)
    share[np.argsort(share - exact, kind="stable")[: number - share.sum()]] += 1
    kept: dict[int, list[list[int]]] = {}
    for name, wanted in zip(patients, share, strict=True):
        for chosen in sorted(rng.permutation(len(by_patient[name]))[:wanted]):
            _, clip, frame, copy = by_patient[name][chosen]
            kept.setdefault(clip, []).append([frame, copy])
    return [{**train[clip], "images": kept[clip]} for clip in sorted(kept)]


def has_values(row: Row, wanted: Mapping[str, Any]) -> bool:
    return all(row[column] == value for column, value in wanted.items())


def _split_at(position: int, fold: int, num_folds: int) -> str:
    return "test" if position % num_folds == fold else "train"


def is_wanted(arm: Arm | ArmRecord, row: Row) -> bool:
    """Whether an arm trains on or predicts a clip with these columns."""
    needs = all(row[column] is not None for column in arm.rows.needs)
    return needs and has_values(row, arm.rows.where)
