"""Leaks of patients between splits: arms whose published protocol leaks, and foreign weights.

An arm leaks as `KINDS` lists, or where it starts from, reads or joins an arm that leaks. Reports
mark such arms.

`folds.json` of the run that trained weights lists their training and validation patients. Weights
from elsewhere count as trained on nobody.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import lus_ray.folds as folds
from lus_ray.errors import FoldError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.folds.grouping import patients_by_group
from lus_ray.runs import layout, manifest
from lus_ray.runs.manifest import RunRecord

OVERLAP = "patients overlap"
IMAGES = "images split at random"
CLIPS = "clips split at random"
SELECTED = "selected on test"

KINDS = {
    OVERLAP: "trained on other clips of tested patients, as in the paper, or reading such an arm; "
    "compared with baselines of this kind only",
    IMAGES: "augmented images instead of patients are split, as in the paper: copies of a test "
    "image and frames of its patient are trained on; compared with baselines of this kind only",
    CLIPS: "clips instead of patients are split, balanced in class, as in the paper: other clips "
    "of a tested patient are trained on; compared with baselines of this kind only",
    SELECTED: "the score on the test split chose the epoch, as in the paper",
}
"""Kinds of leak by their mark, with what each means."""

PEOPLE = {OVERLAP, IMAGES, CLIPS}
"""Kinds in which test patients are trained on; such arms are compared with each other only."""

Arms = Experiment | RunRecord | Mapping[str, Any]


def leaks(experiment: Arms) -> dict[str, tuple[str, ...]]:
    """The kinds of leak of every arm that leaks, its own and those of the arms it builds on."""
    kinds_of: dict[str, tuple[str, ...]] = {}
    for arm in _get(experiment, "arms"):
        rows = _get(arm, "rows")
        kinds = [SELECTED] if _get(_get(arm, "recipe"), "select") == "test" else []
        marks = {OVERLAP: "overlap", IMAGES: "images", CLIPS: "clips"}
        kinds += [kind for kind, key in marks.items() if _get(rows, key)]
        for name in (_get(arm, "start"), *_arms_read(arm)):
            kinds += kinds_of.get(name, ())
        if kinds:
            kinds_of[_get(arm, "name")] = tuple(dict.fromkeys(kinds))
    return kinds_of


def arms_split_at_random(experiment: Arms) -> set[str]:
    """Arms that test images or clips of any patient, and arms that read such an arm."""
    names: set[str] = set()
    for arm in _get(experiment, "arms"):
        rows = _get(arm, "rows")
        at_random = _get(rows, "images") or _get(rows, "clips")
        if at_random or names.intersection(_arms_read(arm)):
            names.add(_get(arm, "name"))
    return names


def refuse_leaking_weights(
    experiment: Experiment, assigned: Sequence[Fold], index: pa.Table
) -> None:
    """Raise FoldError for weights trained on a patient, or its leak group, whom a fold tests."""
    members, _ = patients_by_group(index)
    for path in sorted({arm.weights for arm in experiment.arms if arm.weights}):
        known = trained_patients(Path(path))
        trained = {name for group in members.values() if known & set(group) for name in group}
        leaking = {fold.number: sorted(trained & set(fold.test)) for fold in assigned}
        for number, names in leaking.items():
            if not names:
                continue
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            free = ",".join(str(fold) for fold in leaking if not leaking[fold])
            raise FoldError(
                f"{path}: was trained on {names[0]!r}{others}, whom fold {number} tests; "
                + (f"run only --folds {free}, or " if free else "")
                + "use weights of other patients"
            )


def patients_of_weights(experiment: Experiment) -> tuple[str, ...]:
    """Patients who trained the initial weights of any arm, as far as they are known."""
    paths = {arm.weights for arm in experiment.arms if arm.weights}
    return tuple(sorted({name for path in paths for name in trained_patients(Path(path))}))


def trained_patients(path: Path) -> set[str]:
    """Patients who trained weights or chose their epoch; where the arm leaks, test patients too."""
    cells = next((folder for folder in path.parents if _is_cells_folder(folder)), None)
    if cells is None:
        return set()
    parts = path.relative_to(cells).parts
    record = manifest.read(cells.parent)
    leaky = {layout.slug(name) for name in leaks(record)}
    splits = folds.SPLITS if parts[0] in leaky else ("train", "val")
    assigned = folds.read(cells.parent / layout.FOLDS)
    names = [part.partition("-seed")[0] for part in parts[1:]]
    own = [fold for fold in assigned if f"fold{fold.number}" in names]
    trained = {
        name for fold in own or assigned for split in splits for name in getattr(fold, split)
    }
    return trained.union(record.weights_patients)


def _is_cells_folder(folder: Path) -> bool:
    return folder.name == layout.CELLS and (folder.parent / layout.MANIFEST).is_file()


def _arms_read(arm: Any) -> list[str]:
    return [name for name in (_get(arm, "reads"), *(_get(arm, "members") or ())) if name]


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, Mapping) else getattr(entry, key, None)
