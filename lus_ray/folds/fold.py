"""A fold: disjoint sets of patients, the file it is kept in, and the gate against leaks."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lus_ray.errors import FoldError
from lus_ray.folds.grouping import patients_by_group

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Fold:
    """Disjoint sets of patients, kept sorted; `val` and `test` may be empty.

    Raises:
        FoldError: a patient is in two splits.
    """

    number: int
    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split in SPLITS:
            object.__setattr__(self, split, tuple(sorted(set(getattr(self, split)))))
        for first, second in combinations(SPLITS, 2):
            if both := sorted(set(getattr(self, first)) & set(getattr(self, second))):
                raise FoldError(
                    f"fold {self.number}: patient {both[0]!r} is in {first} and in {second}"
                    f"{_and_others(both)}; a patient may be in one split only"
                )

    def split_of(self, patient: str) -> Split | None:
        """The split of a patient, or None where this fold leaves the patient out."""
        for split in SPLITS:
            patients = getattr(self, split)
            position = bisect_left(patients, patient)
            if patients[position : position + 1] == (patient,):
                return split
        return None


def gate(folds: Iterable[Fold], index: pa.Table) -> None:
    """Refuse folds in which a patient or a leak group is in two splits.

    Raises:
        FoldError: names the fold, the group or the clips, and the two splits.
    """
    members, _ = patients_by_group(index)
    group_of = {patient: group for group, patients in members.items() for patient in patients}
    pixels = list(zip(index["sha256"].to_pylist(), index["patient"].to_pylist(), strict=True))
    for fold in folds:
        if not fold.train:
            raise FoldError(f"fold {fold.number}: no patient to train on")
        split_of = {patient: split for split in SPLITS for patient in getattr(fold, split)}
        if unknown := sorted(set(split_of) - set(group_of)):
            raise FoldError(
                f"fold {fold.number}: patient {unknown[0]!r}{_and_others(unknown)} is not in this "
                "store; assign the folds again, or give the store they were assigned for"
            )
        _refuse_straddling(fold, "leak group", [(group_of[p], p) for p in split_of], split_of)
        _refuse_straddling(fold, "equal pixels", pixels, split_of)


def read(path: Path | str) -> tuple[Fold, ...]:
    """The folds of a JSON file.

    Raises:
        FoldError: the file is missing or does not list folds numbered from 0, was edited after it
            was written, or puts a patient in two splits.
    """
    try:
        plan = json.loads(Path(path).read_text(encoding="utf-8"))
        folds = tuple(
            Fold(number, *(_patients(f.get(split, [])) for split in SPLITS))
            for number, f in zip(_numbers(plan["folds"]), plan["folds"], strict=True)
        )
    except OSError as error:
        raise FoldError(f"{path}: not readable ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FoldError(
            f"{path}: no folds here ({error}); write "
            '{"folds": [{"number": 0, "train": [...], "val": [...], "test": [...]}]}'
        ) from error
    if plan.get("fingerprint", fingerprint(folds)) != fingerprint(folds):
        raise FoldError(
            f"{path}: patients do not match the fingerprint; restore or delete the file"
        )
    return folds


def fingerprint(folds: Iterable[Fold]) -> str:
    text = json.dumps([asdict(fold) for fold in folds], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_straddling(
    fold: Fold, kind: str, keyed: Iterable[tuple[str, str]], split_of: dict[str, Split]
) -> None:
    first: dict[str, str] = {}
    for key, patient in keyed:
        if patient in split_of:
            other = first.setdefault(key, patient)
            if split_of[other] != split_of[patient]:
                raise FoldError(
                    f"fold {fold.number}: {kind} {key!r} is in two splits: {other!r} in "
                    f"{split_of[other]}, {patient!r} in {split_of[patient]}; assign by group"
                )


def _numbers(folds: Any) -> list[int]:
    numbers = [fold["number"] for fold in folds]
    if not all(type(n) is int for n in numbers) or sorted(numbers) != [*range(len(numbers) or 1)]:
        raise ValueError(f"folds are numbered 0, 1, 2, ..., each once, not {numbers}")
    return numbers


def _patients(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"a split is a list of patients, not {names!r}")
    return tuple(names)


def _and_others(names: list[str]) -> str:
    return f" (and {len(names) - 1} others)" if len(names) > 1 else ""
