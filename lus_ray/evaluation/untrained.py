"""Classes that the training split of a fold lacks; they have no score there.

The arms of a label share their folds, so that one sentence serves all of them.
"""

from collections.abc import Iterable, Sequence

from lus_ray.data.labels import label_name
from lus_ray.evaluation.schema import UntrainedClass
from lus_ray.evaluation.scored_arms import Arms, ScoredArm

NUM_NAMES = 6
"""Names of classes in a sentence; report.json has all of them."""

NOTE = (
    "a class that the training split of a fold lacks has no score in that fold, and averages over "
    "classes (AUC, precision, recall, F1, IoU, Dice, means over biomarkers) leave it out; accuracy "
    "and kappa count every test clip, so that a clip of such a class is an error; a biomarker is "
    "trained where the training split holds it both present and absent"
)


def find(arms: Arms) -> tuple[UntrainedClass, ...]:
    """Every class that a finished fold of a label did not train, in the order of the classes."""
    labels = dict.fromkeys(arm.label for arm in arms.values() if arm.label and arm.cells)
    peers = {label: [arm for arm in arms.values() if arm.label == label] for label in labels}
    return tuple(found for label, own in peers.items() for found in _of_label(str(label), own))


def describe(untrained: Iterable[UntrainedClass]) -> list[str]:
    """The classes of each label in sentences, one for those that the same folds lack."""
    by_label: dict[str, dict[tuple[object, ...], list[UntrainedClass]]] = {}
    for entry in sorted(untrained, key=lambda entry: not entry.num_tested):
        key = tuple(value for name, value in vars(entry).items() if name not in ("label", "name"))
        by_label.setdefault(entry.label, {}).setdefault(key, []).append(entry)
    return [" ".join(map(_sentence, alike.values())) for alike in by_label.values()]


def _of_label(label: str, arms: Sequence[ScoredArm]) -> list[UntrainedClass]:
    cells = [cell for arm in arms for cell in arm.cells.values()]
    num_folds = len({cell.fold for cell in cells})
    found = []
    for k, name in enumerate(cells[0].classes):
        without = [cell for cell in cells if not cell.knows(k)]
        folds = tuple(sorted({cell.fold for cell in without}))
        tested = {cell.fold for cell in cells if cell.tested[k]}
        is_shared = len(without) == sum(cell.fold in folds for cell in cells)
        if without:
            found.append(
                UntrainedClass(
                    label=label,
                    name=name,
                    folds=folds,
                    num_folds=num_folds,
                    num_tested=len(tested),
                    num_scored=len(tested.difference(folds)),
                    arms=() if is_shared else tuple(dict.fromkeys(cell.arm for cell in without)),
                )
            )
    return found


def _sentence(entries: Sequence[UntrainedClass]) -> str:
    first = entries[0]
    names = [entry.name for entry in entries]
    if len(names) > NUM_NAMES:
        names[NUM_NAMES - 1 :] = [f"{len(names) - NUM_NAMES + 1} more (see report.json)"]
    of_arms = f" of {_join(first.arms)}" if first.arms else ""
    values = " both present and absent" if first.label == "biomarkers" else ""
    if len(first.folds) == first.num_folds:
        where = f"in no training split{of_arms}{values}"
    else:
        folds = f"fold{'s' * (len(first.folds) > 1)} {', '.join(map(str, first.folds))}"
        where = f"not{values} in the training split of {folds}{of_arms}"
    tested = "" if first.num_tested or values else " and in no test clip"
    scored = f"scored in {first.num_scored} of {first.num_folds} folds"
    where += f"{tested}; {scored if first.num_scored else 'no score'}"
    comma = "; " if any(":" in name for name in names) else ", "
    return f"{label_name(first.label)} {comma.join(names)}: {where}."


def _join(names: Sequence[str]) -> str:
    few = list(names[:3]) + ([f"{len(names) - 3} more arms"] if len(names) > 3 else [])
    return ", ".join(few)
