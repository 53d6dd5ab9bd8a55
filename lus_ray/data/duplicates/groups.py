"""The leak gate: clips that belong together share a group, and folds split groups.

Clips belong together if they are of one patient, have equal pixels, or show the same acquisition
(`matching`), within and across sources; so do patients whose names differ only in case, and those
to whom a reader gave one group. A group is named after the smallest of its patients, whatever the
order of rows and of ingests.

Why joined and not dropped: people have to decide which copy has the right label; a fold that keeps
the copies in one split is right in either case.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lus_ray.data import store
from lus_ray.data.duplicates import matching
from lus_ray.data.duplicates.signature import (
    compute_signature as compute_signature,  # what ingest stores per clip
)
from lus_ray.data.duplicates.signature import unpack_signature
from lus_ray.data.patient_names import find_same
from lus_ray.errors import StoreError
from lus_ray.storage.paths import PathOrUri

LABELS = ("severity", "disease", "etiology", "sf_ratio", "biomarkers", "labels")
"""Columns in which copies of one acquisition should not differ."""


NO_PATCHES: Mapping[str, matching.Patches] = {}


@dataclass(frozen=True)
class DuplicatePair:
    """Two clips of different patients that show the same acquisition, smaller name first.

    `kind` is how they were found; `similarity` is 1 for equal pixels; `conflicts` are the labels,
    built in or one's own, with which both are annotated and in which they differ.
    """

    one: str
    other: str
    kind: Literal["equal pixels", "near copy"]
    similarity: float
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """All pairs of copies, groups of several patients, and the number of rewritten shards."""

    pairs: tuple[DuplicatePair, ...]
    groups: dict[str, tuple[str, ...]]
    num_groups: int
    num_shards_rewritten: int


def assign_groups(
    path: Path | str,
    beside: Sequence[PathOrUri] = (),
    patches: Mapping[str, matching.Patches] = NO_PATCHES,
) -> Grouping:
    """Find the groups of a store and write them into it.

    `beside` are its shards elsewhere, `patches` those of clips that were described before.
    """
    index = store.index_shards([*store.list_shards(path), *beside])
    pairs = find_pairs(index, patches)
    group_of = join_groups(index, pairs, read_given_groups(path))
    members = defaultdict(set)
    for clip, patient in zip(*_columns(index, "clip", "patient"), strict=True):
        members[group_of[clip]].add(patient)
    return Grouping(
        pairs=pairs,
        groups={name: tuple(sorted(m)) for name, m in sorted(members.items()) if len(m) > 1},
        num_groups=len(members),
        num_shards_rewritten=store.replace_groups(path, group_of, beside),
    )


def find_pairs(
    index: pa.Table, patches: Mapping[str, matching.Patches] = NO_PATCHES
) -> tuple[DuplicatePair, ...]:
    """Clips of different patients that show the same acquisition, sorted by name.

    Clips with equal pixels are listed as a chain, each with the one before it; near copies are
    searched among clips that differ in patient and pixels.

    Raises:
        StoreError: the signature of a clip is damaged.
    """
    names = ("clip", "patient", "sha256", "signature", *LABELS)
    index = index.select(names).sort_by("clip")
    clips, patients, hashes, signatures, *labels = _columns(index, *names)
    for clip, signature in zip(clips, signatures, strict=True):
        try:
            if signature is not None:
                unpack_signature(signature)
        except ValueError as error:
            raise StoreError(
                f"clip {clip!r}: its signature is damaged ({error}); ingest its source again"
            ) from error
    rows = list(zip(*labels, strict=True))
    chains = _chains(hashes)
    known_groups = _union(len(clips), [*_chains(patients), *chains])

    def pair(a: int, b: int, kind: Any, similarity: float) -> DuplicatePair:
        return DuplicatePair(clips[a], clips[b], kind, similarity, _conflicts(rows[a], rows[b]))

    equal = [pair(a, b, "equal pixels", 1.0) for a, b in chains if patients[a] != patients[b]]
    near = [
        pair(match.one, match.other, "near copy", match.similarity)
        for match in matching.find_matches(signatures, known_groups, list(map(patches.get, clips)))
    ]
    return tuple(sorted(equal + near, key=lambda p: (p.one, p.other)))


def read_given_groups(path: PathOrUri) -> list[tuple[str, str]]:
    """Patients and the group that their reader gave them, from the records of the sources."""
    sources = store.read_sources(path).values()
    return [(patient, group) for facts in sources for patient, group in facts.get("joined", ())]


def join_groups(
    index: pa.Table, pairs: Iterable[DuplicatePair], given_groups: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """The group of every clip, from pairs of copies, spellings, and groups that readers gave."""
    clips, patients = _columns(index, "clip", "patient")
    number_of = {clip: number for number, clip in enumerate(clips)}
    names = dict.fromkeys([*patients, *chain.from_iterable(given_groups)])
    of_name = {name: len(clips) + number for number, name in enumerate(names)}
    edges = [(number, of_name[patient]) for number, patient in enumerate(patients)]
    edges += [(of_name[patient], of_name[group]) for patient, group in given_groups]
    edges += [(of_name[a], of_name[b]) for same in find_same(names) for a, b in pairwise(same)]
    edges += [(number_of[pair.one], number_of[pair.other]) for pair in pairs]
    roots = _union(len(clips) + len(names), edges)[: len(clips)]
    smallest: dict[int, str] = {}
    for root, patient in zip(roots, patients, strict=True):
        smallest[root] = min(smallest.get(root, patient), patient)
    return {clip: smallest[root] for clip, root in zip(clips, roots, strict=True)}


def _conflicts(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[str, ...]:
    first, second = _by_name(one), _by_name(other)
    return tuple(
        name
        for name, value in first.items()
        if value is not None and second.get(name) is not None and _differ(value, second[name])
    )


def _by_name(values: tuple[Any, ...]) -> dict[str, Any]:
    *built_in, own = values
    return {**dict(zip(LABELS, built_in, strict=False)), **dict(own or ())}


def _differ(one: Any, other: Any) -> bool:
    """-1 in a vector is not annotated."""
    if isinstance(one, list):
        return any(a != b and min(a, b) >= 0 for a, b in zip(one, other, strict=True))
    return bool(one != other)


def _chains(keys: Iterable[Hashable]) -> list[tuple[int, int]]:
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        rows[key].append(number)
    return [edge for numbers in rows.values() for edge in pairwise(numbers)]


def _union(num: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `num` numbers, the smallest number that the edges connect to it."""
    parent = list(range(num))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for edge in edges:
        low, high = sorted(map(root, edge))
        parent[high] = low
    return [root(number) for number in range(num)]


def _columns(index: pa.Table, *names: str) -> list[list[Any]]:
    return [index[name].to_pylist() for name in names]
