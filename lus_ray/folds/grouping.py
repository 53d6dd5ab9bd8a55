"""Patients into parts: by group, inside strata, the same on any machine.

The unit is the group: patients that the leak gate joined, or a single patient. Inside strata of
their label, groups are ordered by a hash of seed and name and assigned to parts in turn, so the
same groups, shares and seed give the same parts in any order of rows. Where domains are compared,
every part gets groups of each domain, the largest first.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.clip import sf_class
from lus_ray.errors import FoldError


def split_groups(
    index: pa.Table, shares: Sequence[float], *, seed: int, stratify: str | None
) -> tuple[tuple[str, ...], ...]:
    """Patients of an index in parts of these shares; a group stays whole.

    Every stratum and the whole are balanced in number of groups; ties go to the part with the
    fewest clips for its share.

    Raises:
        FoldError: there are fewer groups than parts, or a patient has two groups.
    """
    members, num_clips = patients_by_group(index)
    wanted = [part for part, share in enumerate(shares) if share > 0]
    if len(members) < len(wanted):
        raise FoldError(
            f"{len(members)} groups of patients cannot fill {len(wanted)} parts; "
            "use fewer parts or more patients"
        )
    parts: list[list[str]] = [[] for _ in shares]
    total: Counter[int] = Counter()
    clips: Counter[int] = Counter()
    for groups in find_strata(index, stratify):
        inside: Counter[int] = Counter()
        for group in sorted(groups, key=lambda g: _hash(seed, g)):
            loads = {p: (inside[p] + 1, total[p] + 1, clips[p]) for p in wanted}
            part = min(wanted, key=lambda p: tuple(load / shares[p] for load in loads[p]))
            inside[part] += 1
            total[part] += 1
            clips[part] += num_clips[group]
            parts[part] += members[group]
    _fill_empty(parts, wanted, index)
    return tuple(tuple(sorted(part)) for part in parts)


def split_by_domain(
    index: pa.Table, k: int, *, seed: int, val: bool
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Patients who validate and patients who test, of every domain, in each of k folds.

    Every patient tests once, and a group stays whole, also one with patients of several domains.
    The test parts of a domain are balanced in number of images: those that the column `images`
    lists, or one a clip without it. Where `val`, one group of each domain that does not test
    validates, by hash, but never the last one that is left to train.

    Raises:
        FoldError: a domain has fewer groups than folds, a clip has no domain, or a patient has
            two groups.
    """
    members, _ = patients_by_group(index)
    images = _images_by_domain(index)
    splits = []
    for number, test in enumerate(_spread(images, k, seed)):
        others = {group: images[group] for group in sorted(images) if group not in test}
        spared = _one_of_each(others, seed, number) if val else []
        splits.append((_patients(spared, members), _patients(test, members)))
    return tuple(splits)


def patients_by_group(index: pa.Table) -> tuple[dict[str, list[str]], Counter[str]]:
    group_of: dict[str, str] = {}
    num_clips: Counter[str] = Counter()
    for patient, group in _pairs(index, "patient", "group"):
        if group_of.setdefault(patient, group) != group:
            raise FoldError(
                f"patient {patient!r} is in groups {group_of[patient]!r} and {group!r}; "
                "ingest one of its sources again, which joins them"
            )
        num_clips[group] += 1
    members = defaultdict(list)
    for patient in sorted(group_of):
        members[group_of[patient]].append(patient)
    return dict(members), num_clips


def find_strata(index: pa.Table, stratify: str | None) -> list[list[str]]:
    """Groups by stratum: the most severe grade, or the most frequent name, or none known."""
    if stratify is None:
        return [sorted(set(index["group"].to_pylist()))]
    if stratify not in index.column_names or pa.types.is_nested(index.schema.field(stratify).type):
        raise FoldError(f"cannot stratify by {stratify!r}; use a column with one value a clip")
    labels: dict[str, list[Any]] = defaultdict(list)
    for group, label in _pairs(index, "group", stratify):
        labels[group] += [] if label is None else [label]
    strata: dict[Hashable, list[str]] = defaultdict(list)
    for group in sorted(labels):
        strata[_stratum(labels[group])].append(group)
    return [strata[key] for key in sorted(strata, key=lambda k: (k is None, str(k)))]


def _stratum(labels: list[Any]) -> Hashable:
    if not labels:
        return None
    if isinstance(labels[0], str):
        counts = Counter(labels)
        return min(counts, key=lambda label: (-counts[label], label))
    if isinstance(labels[0], float):
        return max(sf_class(label) for label in labels)
    return max(labels)


def _fill_empty(parts: list[list[str]], wanted: list[int], index: pa.Table) -> None:
    """Give an empty part the first group of the part with the most groups."""
    group_of = dict(_pairs(index, "patient", "group"))
    for part in wanted:
        if not parts[part]:
            richest = max(wanted, key=lambda p: len({group_of[x] for x in parts[p]}))
            moved = min(group_of[patient] for patient in parts[richest])
            parts[part] = [x for x in parts[richest] if group_of[x] == moved]
            parts[richest] = [x for x in parts[richest] if group_of[x] != moved]


def _images_by_domain(index: pa.Table) -> dict[str, Counter[str]]:
    """Images of each group by domain; a clip counts at least once, so no part is empty."""
    num_images = [1] * index.num_rows
    if "images" in index.column_names:
        num_images = [n or 1 for n in pc.list_value_length(index["images"]).to_pylist()]
    images: dict[str, Counter[str]] = defaultdict(Counter)
    columns = (index[name].to_pylist() for name in ("clip", "group", "domain"))
    for number, clip, group, domain in zip(num_images, *columns, strict=True):
        if domain is None:
            raise FoldError(f"clip {clip!r} has no domain; name it, or leave the clip out")
        images[group][domain] += number
    return dict(images)


def _spread(images: Mapping[str, Counter[str]], k: int, seed: int) -> list[set[str]]:
    """Groups in k parts: the largest first, each to the part with the least of its domains.

    Groups of several domains come first; the others then even out what these leave.
    """
    total: Counter[str] = Counter()
    num_groups: Counter[str] = Counter()
    for own in images.values():
        total.update(own)
        num_groups.update(own.keys())
    for domain in sorted(num_groups):
        if num_groups[domain] < k:
            raise FoldError(
                f"domain {domain!r} has {num_groups[domain]} groups of patients for {k} folds; "
                "use fewer folds or more patients of this domain"
            )

    def share(images_in: Counter[str], domains: Iterable[str]) -> Fraction:
        return sum((Fraction(images_in[d], total[d]) for d in domains), Fraction(0))

    parts: list[set[str]] = [set() for _ in range(k)]
    images_in: list[Counter[str]] = [Counter() for _ in range(k)]
    order = sorted(
        images, key=lambda g: (-len(images[g]), -share(images[g], images[g]), _hash(seed, g))
    )
    for group in order:
        part = min(range(k), key=lambda p: share(images_in[p], images[group]))
        parts[part].add(group)
        images_in[part].update(images[group])
    return parts


def _one_of_each(groups: Mapping[str, Counter[str]], seed: int, fold: int) -> list[str]:
    """One group of each domain, chosen by hash so that every domain keeps another one."""
    chosen: list[str] = []
    for domain in sorted(set().union(*groups.values())):
        if any(domain in groups[group] for group in chosen):
            continue
        left = Counter(d for group in groups if group not in chosen for d in groups[group])
        spare = [g for g in groups if domain in groups[g] and all(left[d] > 1 for d in groups[g])]
        chosen += sorted(spare, key=lambda g: _hash(seed, f"{fold}:{g}"))[:1]
    return chosen


def _patients(groups: Iterable[str], members: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted(patient for group in groups for patient in members[group]))


def _hash(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _pairs(index: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(index[name].to_pylist() for name in names), strict=True))
