"""Folds: disjoint sets of patients, dealt by group.

A protocol says how many parts there are and which of them trains, validates and tests in each
fold. Why a table of roles: rotation, a fixed test part and a single split differ in nothing else.
"""

import hashlib
import json
import typing
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lus_ray.errors import FoldError
from lus_ray.folds.grouping import patients_by_group, split_by_domain, split_groups
from lus_ray.storage.files import write_text

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Fold:
    """Disjoint sets of patients, kept sorted; `val` and `test` may be empty.

    Raises:
        FoldError: a patient is on two sides.
    """

    number: int
    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for side in SPLITS:
            object.__setattr__(self, side, tuple(sorted(set(getattr(self, side)))))
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if both := sorted(set(getattr(self, one)) & set(getattr(self, other))):
                raise FoldError(
                    f"fold {self.number}: patient {both[0]!r} is in {one} and in {other}"
                    f"{_and_others(both)}; a patient may be on one side only"
                )

    def split_of(self, patient: str) -> Split | None:
        """The side of a patient, or None where this fold leaves the patient out."""
        for side in SPLITS:
            patients = getattr(self, side)
            place = bisect_left(patients, patient)
            if patients[place : place + 1] == (patient,):
                return side
        return None


@typing.runtime_checkable
class Protocol(typing.Protocol):
    """How patients become folds; a small frozen value."""

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """Folds over the patients of an index (`lus_ray.data.store.read_index`)."""
        ...

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        ...


@dataclass(frozen=True)
class Parts:
    """Parts of given shares, and per fold the parts that validate and test; the others train."""

    name: str
    shares: tuple[float, ...]
    roles: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    stratify: str | None

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """Folds over all patients of the index."""
        dealt = split_groups(index, self.shares, seed=seed, stratify=self.stratify)
        every = range(len(dealt))
        return tuple(
            Fold(
                number,
                train=_joined(dealt[p] for p in every if p not in val + test),
                val=_joined(dealt[p] for p in val),
                test=_joined(dealt[p] for p in test),
            )
            for number, (val, test) in enumerate(self.roles)
        )

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class KFold:
    """k parts that each test once; of the groups that are left, one in `one_in` validates.

    Both are balanced in strata. At least one group validates, and at least one trains.
    """

    name: str
    k: int
    one_in: int
    stratify: str | None

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """Folds over all patients of the index."""
        folds = []
        for number, test in enumerate(
            split_groups(index, _equal(self.k), seed=seed, stratify=self.stratify)
        ):
            left = index.filter(pa.array([p not in test for p in index["patient"].to_pylist()]))
            shares = _equal(min(self.one_in, len(set(left["group"].to_pylist()))))
            parts = list(split_groups(left, shares, seed=seed, stratify=self.stratify))
            val = parts.pop(number % len(parts))  # folds may have the same hashes left
            folds.append(Fold(number, train=_joined(parts), val=val, test=test))
        return tuple(folds)

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class AcrossDomains:
    """k-fold with the same fold numbers for every domain, each balanced in number of images."""

    name: str
    k: int
    val: bool

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """Folds over all patients of the index, by its column `domain`."""
        every = set(index["patient"].to_pylist())
        sides = split_by_domain(index, self.k, seed=seed, val=self.val)
        return tuple(
            Fold(number, train=tuple(every.difference(val, test)), val=val, test=test)
            for number, (val, test) in enumerate(sides)
        )

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Official:
    """Folds that somebody published, in a JSON file: `{"folds": [{"number", "train", ...}]}`."""

    path: Path

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """The folds of the file over those of its patients that the index has; no chance in it.

        Raises:
            FoldError: the file is unreadable, or the index has no patient of a side that a fold
                needs: to train, to test, and to validate where the file names anybody.
        """
        here = set(index["patient"].to_pylist())
        folds = read(self.path)
        for fold in folds:
            for side, does in (("train", "trains on"), ("val", "validates on"), ("test", "tests")):
                named = getattr(fold, side)
                if here.isdisjoint(named) and (named or side != "val"):
                    raise FoldError(
                        f"{self.path}: fold {fold.number} {does} no patient of this store; "
                        "patients are written '<source>/<id>'"
                    )
        return tuple(
            Fold(f.number, *(tuple(p for p in getattr(f, side) if p in here) for side in SPLITS))
            for f in folds
        )

    def misfits(self, index: pa.Table) -> list[str]:
        """Where file and store do not fit: patients of the one that the other does not know."""
        here = set(index["patient"].to_pylist())
        named = {
            patient for f in read(self.path) for side in SPLITS for patient in getattr(f, side)
        }
        file, notes = self.path.name, []
        if unknown := sorted(named - here):
            share = f"{len(unknown)} of {len(named)} patients of {file}"
            notes.append(f"{share} are not in the store: {_first(unknown)}")
        if undealt := sorted(here - named):
            share = f"{len(undealt)} of {len(here)} patients of the store"
            notes.append(f"{share} are in no fold of {file} and left out: {_first(undealt)}")
        return notes

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        return {"name": "official", "file": self.path.name, "folds": fingerprint(read(self.path))}


def fixed_test(parts: int = 4, cv: int = 3, stratify: str | None = "severity") -> Parts:
    """The last part always tests; each fold validates on one of `cv` others and trains on the rest.

    Gare 2022, section 3.3: four equal patient parts, one fixed test, three-fold validation.
    """
    if not 2 <= cv < parts:
        raise FoldError(f"fixed_test: cv is {cv} of {parts} parts; it must be 2 to parts - 1")
    roles = tuple(((fold,), (parts - 1,)) for fold in range(cv))
    return Parts("fixed_test", _equal(parts), roles, stratify)


def rotating(k: int, val: bool = True, stratify: str | None = "severity") -> Parts:
    """k-fold: every part tests once; the part after it validates, if `val`."""
    if k < (3 if val else 2):
        raise FoldError(f"rotating: k is {k}; use at least {3 if val else 2}")
    roles = tuple((((fold + 1) % k,) if val else (), (fold,)) for fold in range(k))
    return Parts("rotating", _equal(k), roles, stratify)


def k_fold(k: int, one_in: int = 4, stratify: str | None = "severity") -> KFold:
    """k-fold: every part tests once; of the groups that are left one in `one_in` validates.

    It leaves more to train than `rotating`, where a whole part validates.
    """
    if k < 3 or one_in < 2:
        raise FoldError(f"k_fold: k is {k} and one_in is {one_in}; use at least 3 and 2")
    return KFold("k_fold", k, one_in, stratify)


def across_domains(k: int = 3, val: bool = True) -> AcrossDomains:
    """k-fold over domains: part i of each tests in fold i; a group of each validates, if `val`.

    Mason 2021 deals its two diseases so: three folds, nobody validates.
    """
    if k < (3 if val else 2):
        raise FoldError(f"across_domains: k is {k}; use at least {3 if val else 2}")
    return AcrossDomains("across_domains", k, val)


def one_split(*, train: float, val: float, test: float, stratify: str | None = "severity") -> Parts:
    """One fold with these shares of the groups; a share may be 0, save that of train."""
    if min(train, val, test) < 0 or train == 0 or abs(train + val + test - 1) > 1e-6:
        raise FoldError(f"one_split: shares {train}, {val}, {test} must be positive and sum to 1")
    return Parts("one_split", (train, val, test), (((1,), (2,)),), stratify)


def official(path: Path | str) -> Official:
    """The folds of a JSON file: `{"folds": [{"number", "train", "val", "test"}]}` of patients."""
    return Official(Path(path))


def gate(folds: Iterable[Fold], index: pa.Table) -> None:
    """Refuse a plan before anything starts, if a patient or a leak group is on two sides.

    Raises:
        FoldError: names the fold, the group or the clips, and the two sides.
    """
    members, _ = patients_by_group(index)
    group_of = {patient: group for group, patients in members.items() for patient in patients}
    pixels = list(zip(index["sha256"].to_pylist(), index["patient"].to_pylist(), strict=True))
    for fold in folds:
        if not fold.train:
            raise FoldError(f"fold {fold.number}: no patient to train on")
        side_of = {patient: side for side in SPLITS for patient in getattr(fold, side)}
        if strangers := sorted(set(side_of) - set(group_of)):
            raise FoldError(
                f"fold {fold.number}: patient {strangers[0]!r}{_and_others(strangers)} is not in "
                "this store; deal the folds again, or give the store they were dealt for"
            )
        _refuse_straddling(fold, "leak group", [(group_of[p], p) for p in side_of], side_of)
        _refuse_straddling(fold, "equal pixels", pixels, side_of)


def write(folds: Sequence[Fold], path: Path | str, *, protocol: Protocol, seed: int) -> None:
    """Write folds with the protocol and seed they came from, to open and check."""
    plan = {
        "protocol": protocol.describe(),
        "seed": seed,
        "fingerprint": fingerprint(folds),
        "folds": [asdict(fold) for fold in folds],
    }
    write_text(Path(path), json.dumps(plan, indent=1) + "\n")


def read(path: Path | str) -> tuple[Fold, ...]:
    """The folds of a JSON file.

    Raises:
        FoldError: the file is absent or no list of folds numbered from 0, was edited after it was
            written, or puts a patient on two sides.
    """
    try:
        plan = json.loads(Path(path).read_text(encoding="utf-8"))
        folds = tuple(
            Fold(number, *(_patients(f.get(side, [])) for side in SPLITS))
            for number, f in zip(_numbers(plan["folds"]), plan["folds"], strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FoldError(
            f"{path}: no folds here ({type(error).__name__}: {error}); write "
            '{"folds": [{"number": 0, "train": [...], "val": [...], "test": [...]}]}'
        ) from error
    if plan.get("fingerprint", fingerprint(folds)) != fingerprint(folds):
        raise FoldError(f"{path}: patients do not fit the fingerprint; restore or delete the file")
    return folds


def fingerprint(folds: Iterable[Fold]) -> str:
    """SHA-256 over who is on which side of which fold."""
    text = json.dumps([asdict(fold) for fold in folds], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_straddling(
    fold: Fold, what: str, keyed: Iterable[tuple[str, str]], side_of: dict[str, Split]
) -> None:
    first: dict[str, str] = {}
    for key, patient in keyed:
        if patient in side_of:
            other = first.setdefault(key, patient)
            if side_of[other] != side_of[patient]:
                raise FoldError(
                    f"fold {fold.number}: {what} {key!r} is on two sides: {other!r} in "
                    f"{side_of[other]}, {patient!r} in {side_of[patient]}; deal by group"
                )


def _equal(parts: int) -> tuple[float, ...]:
    return (1.0 / parts,) * parts


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(patient for part in parts for patient in part)


def _numbers(folds: Any) -> list[int]:
    """The numbers of folds, from which images and cells are dealt: each of 0, 1, ... once."""
    numbers = [fold["number"] for fold in folds]
    if not all(type(n) is int for n in numbers) or sorted(numbers) != [*range(len(numbers) or 1)]:
        raise ValueError(f"folds are numbered 0, 1, 2, ..., each once, not {numbers}")
    return numbers


def _patients(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"a side is a list of patients, not {names!r}")
    return tuple(names)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _and_others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} others)" if len(names) > 1 else ""
