"""Dealing patients to parts: by group, inside strata, the same on any machine.

The unit is the group: patients that the leak gate joined, or a single patient. Groups are ordered
by a hash of seed and name inside strata of their label and dealt to parts in turn, so the same
groups, shares and seed give the same parts in any order of rows.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import pyarrow as pa

from lus_ray.clip import sf_class
from lus_ray.errors import FoldError


def cut(
    index: pa.Table, shares: Sequence[float], *, seed: int, stratify: str | None
) -> tuple[tuple[str, ...], ...]:
    """Patients of an index in parts of these shares; a group stays whole.

    Every stratum and the whole are balanced in number of groups; ties go to the part that has the
    fewest clips for its share.

    Raises:
        FoldError: there are fewer groups than parts, or a patient has two groups.
    """
    members, num_clips = members_of(index)
    wanted = [part for part, share in enumerate(shares) if share > 0]
    if len(members) < len(wanted):
        raise FoldError(
            f"{len(members)} groups of patients cannot fill {len(wanted)} parts; "
            "use fewer parts or more patients"
        )
    parts: list[list[str]] = [[] for _ in shares]
    total: Counter[int] = Counter()
    clips: Counter[int] = Counter()
    for groups in _strata(index, stratify):
        inside: Counter[int] = Counter()
        for group in sorted(groups, key=lambda g: _draw(seed, g)):
            part = min(
                wanted,
                key=lambda p: (
                    (inside[p] + 1) / shares[p],
                    (total[p] + 1) / shares[p],
                    clips[p] / shares[p],
                ),
            )
            inside[part] += 1
            total[part] += 1
            clips[part] += num_clips[group]
            parts[part] += members[group]
    _fill_empty(parts, wanted, index)
    return tuple(tuple(sorted(part)) for part in parts)


def members_of(index: pa.Table) -> tuple[dict[str, list[str]], Counter[str]]:
    """Patients and number of clips of each group."""
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


def _strata(index: pa.Table, stratify: str | None) -> list[list[str]]:
    """Groups by stratum: the most severe grade, or the most frequent name, or none known."""
    if stratify is None:
        return [sorted(set(index["group"].to_pylist()))]
    if stratify not in index.column_names or pa.types.is_nested(index.schema.field(stratify).type):
        raise FoldError(f"cannot stratify by {stratify!r}; use a column with one value a clip")
    labels: dict[str, list[Any]] = defaultdict(list)
    for group, label in _pairs(index, "group", stratify):
        labels[group] += [] if label is None else [label]
    strata: dict[Hashable, list[str]] = defaultdict(list)
    for group, _ in _pairs(index, "group", "clip"):
        labels.setdefault(group, [])
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
            given = min(group_of[patient] for patient in parts[richest])
            parts[part] = [x for x in parts[richest] if group_of[x] == given]
            parts[richest] = [x for x in parts[richest] if group_of[x] != given]


def _draw(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _pairs(index: pa.Table, one: str, other: str) -> list[tuple[Any, Any]]:
    return list(zip(index[one].to_pylist(), index[other].to_pylist(), strict=True))
