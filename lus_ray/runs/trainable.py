"""Arms that the training clips of every fold can train, found before anything runs.

A label of clips or frames needs two classes in every training split, biomarkers and masks a clip
that has them. Some arms need more: cross-fitting more patients than one part holds, the inner
folds of an SVM two examples of each class.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lus_ray.clip import Row
from lus_ray.data import masks
from lus_ray.data.labels import CLASSES, class_index, label_name
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold
from lus_ray.runs import cell_rows, leakage

MASKS = " masks"
"""The end of a label of masks; their scheme stands before it."""

ClipsOf = Callable[[Arm], Sequence[Row]]
"""The clips of an arm in one fold, with their `split`."""


def find_untrainable(
    experiment: Experiment, rows: Sequence[Row], folds: Sequence[Fold]
) -> dict[str, str]:
    """Why some fold cannot train an arm, by its name; without arms that only need such an arm."""
    reasons: dict[str, dict[str, list[int]]] = {}
    for fold in folds:
        clips_of = _assign(experiment, rows, fold, len(folds))
        known: dict[tuple[object, ...], str] = {}
        for arm in filter(is_trained, experiment.arms):
            clips, bound = clips_of(arm), _arguments(arm)
            own = (bound.get(name) for name in ("kind", "balance", "classes"))
            key = (id(clips), arm.label, arm.rows.train_without, arm.crossfit, arm.reads, *own)
            if key not in known:
                known[key] = _explain(arm, clips, experiment)
            if reason := known[key]:
                numbers = reasons.setdefault(arm.name, {}).setdefault(reason, [])
                numbers.append(fold.number)
    return {name: _of_folds(found, len(folds)) for name, found in reasons.items()}


def is_trained(arm: Arm) -> bool:
    """Whether the arm learns from labels; others predict by a rule or with the parts of others."""
    fits = getattr(getattr(arm.task, "func", arm.task), "fits_in_one_call", False)
    return arm.label is not None and (arm.recipe is not None or fits)


def class_names(label: str, own: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the classes of a label of clips or frames; those of biomarkers and masks are ()."""
    return tuple(own) or CLASSES.get("severity" if label == "frame_severity" else label, ())


def targets_of(label: str, row: Row, classes: Sequence[str] = ()) -> tuple[int, ...]:
    """The classes of a clip: one, or one of each frame; () where it is not annotated.

    Biomarkers and masks count as one class.
    """
    if label == "frame_severity":
        return tuple(row["frame_severity"] or ())
    if label == "biomarkers":
        return () if row["biomarkers"] is None else (0,)
    if label.endswith(MASKS):
        given, wanted = row["mask_scheme"], label.removesuffix(MASKS)
        return (0,) if given == wanted or (given, wanted) in masks.DERIVED else ()
    number = class_index(label, row, class_names(label, classes))
    return () if number is None else (number,)


def _assign(experiment: Experiment, rows: Sequence[Row], fold: Fold, num_folds: int) -> ClipsOf:
    """The clips of every arm in a fold; those of an arm that reads another are among its clips."""
    at_random = leakage.arms_split_at_random(experiment)
    known: dict[tuple[str | None, ...], Sequence[Row]] = {}

    def clips_of(arm: Arm) -> Sequence[Row]:
        key = (arm.reads, repr(arm.rows), arm.label if arm.rows.clips else None)
        if key not in known:
            read = rows if arm.reads is None else clips_of(experiment.arm(arm.reads))
            if arm.reads in at_random:
                known[key] = read
            elif arm.rows.images:  # every fold has images of every clip
                known[key] = [{**row, "split": "train"} for row in read if row["mask_scheme"]]
            else:
                known[key] = cell_rows.assign_splits(
                    arm, read, fold, num_folds=num_folds, seed=experiment.seed
                )
        return known[key]

    return clips_of


def _explain(arm: Arm, clips: Sequence[Row], experiment: Experiment) -> str:
    """Why these clips cannot train the arm, or an empty text."""
    label, bound = str(arm.label), _arguments(arm)
    own = bound_classes(arm)
    train = [row for row in clips if row["split"] == "train"]
    labelled = [row for row in train if targets_of(label, row, own)]
    learned, _ = cell_rows.training_rows(arm, labelled)
    counts = Counter(number for row in learned for number in targets_of(label, row, own))
    name, names = label_name(label), class_names(label, own)
    if not counts:
        return f"no training clip has {name}"
    if names and len(counts) < 2:
        what = "frame" if label == "frame_severity" else "clip"
        return f"every training {what} has {name} {names[min(counts)]}"
    if bound.get("kind") == "SVM" and _num_examples(arm, counts, experiment) < 2:
        return f"a class of {name} has one training example; an SVM needs two"
    if arm.crossfit:
        groups, labelled_groups = ({r["group"] for r in part} for part in (train, learned))
        if len(labelled_groups) <= -(-len(groups) // arm.crossfit):
            return f"too few training patients have {name} for cross-fitting"
    return ""


def _num_examples(arm: Arm, counts: Mapping[int, int], experiment: Experiment) -> int:
    """Training examples of the smallest class: the samples of its clips, balanced as planned."""
    source = experiment.arm(str(arm.reads))
    while source.reads is not None:
        source = experiment.arm(source.reads)
    samples = getattr(_arguments(source).get("view"), "num_samples", 1) or 2  # 0: every frame
    balanced = _arguments(arm).get("balance", True)
    return samples * (max if balanced else min)(counts.values())


def bound_classes(arm: Arm) -> Sequence[str]:
    """The classes that an arm names for its label; () for those that the label has built in."""
    return _arguments(arm).get("classes", ())


def _arguments(arm: Arm) -> Mapping[str, Any]:
    """The bound arguments of the arm's task; those at their defaults are missing."""
    return getattr(arm.task, "keywords", {})


def _of_folds(reasons: Mapping[str, Sequence[int]], num_folds: int) -> str:
    texts = []
    for reason, numbers in reasons.items():
        some = f"fold{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}: "
        texts.append(reason if len(numbers) == num_folds else some + reason)
    return "; ".join(texts)
