"""Protocols: how patients become folds.

A protocol defines a number of parts, and for each fold the parts that validate and test; the others
train. Rotation, a fixed test part and a single split differ in nothing else.
"""

import json
import typing
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lus_ray.errors import FoldError
from lus_ray.folds.fold import SPLITS, Fold, fingerprint, read
from lus_ray.folds.grouping import find_strata, patients_by_group, split_by_domain, split_groups
from lus_ray.storage.files import write_text


@typing.runtime_checkable
class Protocol(typing.Protocol):
    """Assigns patients to folds; a small frozen value."""

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """Folds over the patients of an index (`lus_ray.data.store.read_index`)."""
        ...

    def numbers(self) -> tuple[int, ...]:
        """The numbers of the folds that `assign` gives, at most."""
        ...

    def describe(self) -> dict[str, Any]:
        """The protocol as JSON values."""
        ...

    def notes(self, index: pa.Table) -> list[str]:
        """What the folds of this index are, where that is not as planned."""
        ...


@dataclass(frozen=True)
class _Named:
    name: str

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    def notes(self, index: pa.Table) -> list[str]:
        return []


@dataclass(frozen=True)
class Parts(_Named):
    """Parts of given shares, and per fold the parts that validate and test; the others train."""

    shares: tuple[float, ...]
    roles: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    stratify: str | None

    def numbers(self) -> tuple[int, ...]:
        return tuple(range(len(self.roles)))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        parts = split_groups(index, self.shares, seed=seed, stratify=self.stratify)
        return tuple(
            Fold(
                number,
                train=_join(part for p, part in enumerate(parts) if p not in val + test),
                val=_join(parts[p] for p in val),
                test=_join(parts[p] for p in test),
            )
            for number, (val, test) in enumerate(self.roles)
        )


@dataclass(frozen=True)
class KFold(_Named):
    """k parts that each test once; of the other groups, one in `one_in` validates.

    Both are balanced in strata. At least one group validates, and at least one trains.
    """

    k: int
    one_in: int
    stratify: str | None

    def numbers(self) -> tuple[int, ...]:
        return tuple(range(self.k))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        folds = []
        tests = split_groups(index, _equal(self.k), seed=seed, stratify=self.stratify)
        for number, test in enumerate(tests):
            tested = set(test)
            rest = index.filter(pa.array([p not in tested for p in index["patient"].to_pylist()]))
            shares = _equal(min(self.one_in, len(set(rest["group"].to_pylist()))))
            parts = list(split_groups(rest, shares, seed=seed, stratify=self.stratify))
            val = parts.pop(number % len(parts))  # the rest of several folds may have equal hashes
            folds.append(Fold(number, train=_join(parts), val=val, test=test))
        return tuple(folds)


@dataclass(frozen=True)
class StratifiedGroupKFold(_Named):
    """`KFold` over the column `class`, with as many parts as a small cohort fills, three to k.

    A part then has two groups of a class, on average. A class whose only groups outside of test
    would validate trains instead.
    """

    k: int
    one_in: int

    def numbers(self) -> tuple[int, ...]:
        return tuple(range(self.k))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        plain = KFold("k_fold", self._num_parts(index), self.one_in, "class")
        members, _ = patients_by_group(index)
        strata = find_strata(index, "class")
        folds = []
        for fold in plain.assign(index, seed=seed):
            split = {group: fold.split_of(patients[0]) for group, patients in members.items()}
            for groups in strata:
                if "train" not in (inside := [split[group] for group in groups]):
                    split |= {groups[inside.index("val")]: "train"} if "val" in inside else {}
            parts = (
                _join(tuple(members[group]) for group in members if split[group] == name)
                for name in SPLITS
            )
            folds.append(Fold(fold.number, *parts))
        return tuple(folds)

    def notes(self, index: pa.Table) -> list[str]:
        if (num_parts := self._num_parts(index)) == self.k:
            return []
        num_patients = len(set(index["patient"].to_pylist()))
        return [f"{num_parts} folds instead of {self.k}, as there are {num_patients} patients"]

    def _num_parts(self, index: pa.Table) -> int:
        num_groups = len(set(index["group"].to_pylist()))
        num_classes = len(find_strata(index, "class"))
        return min(self.k, max(3, num_groups // (2 * num_classes)))


@dataclass(frozen=True)
class RoundRobin(_Named):
    """k parts that each test once, the part after it validates; groups go to parts in turn.

    The order is that of the values of the column `by`, then of the patients, without chance and
    without strata. A group stays whole, at its first patient. Clips without a value come last.
    """

    k: int
    by: str

    def numbers(self) -> tuple[int, ...]:
        return tuple(range(self.k))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        members, _ = patients_by_group(index)
        if len(members) < self.k:
            raise FoldError(
                f"{len(members)} groups of patients cannot fill {self.k} parts; use fewer parts or "
                "more patients"
            )
        place: dict[str, tuple[bool, str, str]] = {}
        names = (index[name].to_pylist() for name in ("group", "patient", self.by))
        for group, patient, value in zip(*names, strict=True):
            own = (value is None, value or "", patient)
            place[group] = min(own, place.get(group, own))
        order = sorted(members, key=lambda group: place[group])
        parts = [
            _join(tuple(members[group]) for group in order[p :: self.k]) for p in range(self.k)
        ]
        return tuple(
            Fold(
                number,
                train=_join(part for p, part in enumerate(parts) if p not in (number, after)),
                val=parts[after],
                test=parts[number],
            )
            for number, after in ((n, (n + 1) % self.k) for n in range(self.k))
        )

    def notes(self, index: pa.Table) -> list[str]:
        """Whether clips lack the column."""
        num_missing = index[self.by].null_count
        text = f"{num_missing} of {index.num_rows} clips have no {self.by}: assigned last"
        return [text] if num_missing else []


@dataclass(frozen=True)
class AcrossDomains(_Named):
    """k-fold with the same fold numbers for every domain, each balanced in number of images."""

    k: int
    val: bool

    def numbers(self) -> tuple[int, ...]:
        return tuple(range(self.k))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        patients = set(index["patient"].to_pylist())
        splits = split_by_domain(index, self.k, seed=seed, val=self.val)
        return tuple(
            Fold(number, train=tuple(patients.difference(val, test)), val=val, test=test)
            for number, (val, test) in enumerate(splits)
        )


@dataclass(frozen=True)
class Official:
    """Published folds in a JSON file: `{"folds": [{"number", "train", ...}]}`."""

    path: Path

    def numbers(self) -> tuple[int, ...]:
        return tuple(fold.number for fold in read(self.path))

    def assign(self, index: pa.Table, *, seed: int) -> tuple[Fold, ...]:
        """The folds of the file over those of its patients that are in the index, without chance.

        Raises:
            FoldError: the file is unreadable, or the index has no patient of a split that a fold
                needs: to train, to test, and to validate where the file names anybody.
        """
        stored = set(index["patient"].to_pylist())
        folds = read(self.path)
        for fold in folds:
            for split, verb in (("train", "trains on"), ("val", "validates on"), ("test", "tests")):
                patients = getattr(fold, split)
                if stored.isdisjoint(patients) and (patients or split != "val"):
                    raise FoldError(
                        f"{self.path}: fold {fold.number} {verb} no patient of this store; "
                        "patients are written '<source>/<id>'"
                    )
        return tuple(
            Fold(f.number, *(tuple(stored.intersection(getattr(f, s))) for s in SPLITS))
            for f in folds
        )

    def notes(self, index: pa.Table) -> list[str]:
        """Patients that only the file has, or only the store."""
        stored = set(index["patient"].to_pylist())
        named = {p for f in read(self.path) for split in SPLITS for p in getattr(f, split)}
        file, notes = self.path.name, []
        if unknown := sorted(named - stored):
            share = f"{len(unknown)} of {len(named)} patients of {file}"
            notes.append(f"{share} are not in the store: {_first(unknown)}")
        if unassigned := sorted(stored - named):
            share = f"{len(unassigned)} of {len(stored)} patients of the store"
            notes.append(f"{share} are in no fold of {file} and left out: {_first(unassigned)}")
        return notes

    def describe(self) -> dict[str, Any]:
        return {"name": "official", "file": self.path.name, "folds": fingerprint(read(self.path))}


def fixed_test(parts: int = 4, cv: int = 3, stratify: str | None = "severity") -> Parts:
    """The last part always tests; each fold validates on one of `cv` others and trains on the rest.

    Gare 2022, section 3.3: four equal patient parts, one fixed test, three-fold validation.
    """
    if not 1 <= cv < parts or parts < 3:
        raise FoldError(
            f"fixed_test: cv is {cv} of {parts} parts; it must be 1 to parts - 1 of at least 3"
        )
    roles = tuple(((fold,), (parts - 1,)) for fold in range(cv))
    return Parts("fixed_test", _equal(parts), roles, stratify)


def rotating(k: int, val: bool = True, stratify: str | None = "severity") -> Parts:
    """k-fold: every part tests once; the part after it validates, if `val`."""
    if k < (3 if val else 2):
        raise FoldError(f"rotating: k is {k}; use at least {3 if val else 2}")
    roles = tuple((((fold + 1) % k,) if val else (), (fold,)) for fold in range(k))
    return Parts("rotating", _equal(k), roles, stratify)


def k_fold(k: int, one_in: int = 4, stratify: str | None = "severity") -> KFold:
    """k-fold: every part tests once; of the other groups, one in `one_in` validates.

    It leaves more to train than `rotating`, where a whole part validates.
    """
    if k < 3 or one_in < 2:
        raise FoldError(f"k_fold: k is {k} and one_in is {one_in}; use at least 3 and 2")
    return KFold("k_fold", k, one_in, stratify)


def stratified_group_k_fold(k: int = 5, one_in: int = 4) -> StratifiedGroupKFold:
    """k-fold of the groups of an experiment's `target`, for cohorts of any size.

    Every part tests once; of the other groups, about one in `one_in` validates.
    """
    if k < 3 or one_in < 2:
        raise FoldError(f"stratified_group_k_fold: k is {k} and one_in is {one_in}; use 3 and 2")
    return StratifiedGroupKFold("stratified_group_k_fold", k, one_in)


def round_robin(k: int = 5, by: str = "site") -> RoundRobin:
    """k-fold of groups in turn, hospital after hospital; the part after the tested one validates.

    Roy 2020, as released, without the part that validates: use `Rows(with_val=True)`.
    """
    if k < 3:
        raise FoldError(f"round_robin: k is {k}; use at least 3")
    return RoundRobin("round_robin", k, by)


def across_domains(k: int = 3, val: bool = True) -> AcrossDomains:
    """k-fold over domains: part i of each tests in fold i; a group of each validates, if `val`.

    Mason 2021 splits its two diseases this way: three folds, nobody validates.
    """
    if k < (3 if val else 2):
        raise FoldError(f"across_domains: k is {k}; use at least {3 if val else 2}")
    return AcrossDomains("across_domains", k, val)


def one_split(*, train: float, val: float, test: float, stratify: str | None = "severity") -> Parts:
    """One fold with these shares of the groups; only the share of train must not be 0."""
    if min(train, val, test) < 0 or train == 0 or abs(train + val + test - 1) > 1e-6:
        raise FoldError(f"one_split: shares {train}, {val}, {test} must be positive and sum to 1")
    return Parts("one_split", (train, val, test), (((1,), (2,)),), stratify)


def official(path: Path | str) -> Official:
    return Official(Path(path))


def write(folds: Sequence[Fold], path: Path | str, *, protocol: Protocol, seed: int) -> None:
    plan = {
        "protocol": protocol.describe(),
        "seed": seed,
        "fingerprint": fingerprint(folds),
        "folds": [asdict(fold) for fold in folds],
    }
    write_text(Path(path), json.dumps(plan, indent=1) + "\n")


def _equal(parts: int) -> tuple[float, ...]:
    return (1.0 / parts,) * parts


def _join(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(patient for part in parts for patient in part)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
