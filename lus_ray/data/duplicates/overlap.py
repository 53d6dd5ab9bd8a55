"""Patients of one store who are, or may be, patients of another one.

The comparison is that of the leak gate within a store: names in any spelling, equal pixels, and
clips that show the same acquisition (`matching`). Who shares a group with such a patient goes, too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from lus_ray.data import patient_names
from lus_ray.data.duplicates import matching

COLUMNS = ("clip", "patient", "group", "sha256", "signature")


@dataclass(frozen=True)
class LeftOut:
    """A patient of the other store, the number of clips, and why they are left out."""

    patient: str
    num_clips: int
    reason: str


def find_overlap(
    index: pa.Table, known_clips: pa.Table, known_patients: Iterable[str]
) -> tuple[LeftOut, ...]:
    """Patients of `index` who may be known, sorted by name.

    Both tables have `COLUMNS`; `known_clips` need no group, and a null signature matches nothing.
    """
    clips, patients, groups, hashes, signatures = (index[name].to_pylist() for name in COLUMNS)
    reasons: dict[str, str] = {}
    known = patient_names.match_names(patients, known_patients)
    for patient, (other, is_same) in known.items():
        if patient == other:
            reasons[patient] = "a patient of the run has this name"
        else:
            reasons[patient] = f"{'the same' if is_same else 'nearly the same'} name as {other!r}"
    by_hash = dict(
        zip(*(known_clips[name].to_pylist() for name in ("sha256", "clip")), strict=True)
    )
    for clip, patient, pixels in zip(clips, patients, hashes, strict=True):
        if pixels in by_hash:
            reasons.setdefault(patient, f"{clip!r} has the pixels of {by_hash[pixels]!r}")
    for number, other, similarity in _near_copies(signatures, known_clips):
        reason = f"{clips[number]!r} is a near copy of {other!r} (similarity {similarity:.2f})"
        reasons.setdefault(patients[number], reason)
    group_of = dict(zip(patients, groups, strict=True))
    first = {group_of[patient]: patient for patient in sorted(reasons, reverse=True)}
    for patient, group in group_of.items():
        if group in first and patient not in reasons:
            reasons[patient] = f"in one group with {first[group]!r}"
    num_clips = Counter(patients)
    return tuple(
        LeftOut(patient, num_clips[patient], reasons[patient]) for patient in sorted(reasons)
    )


def _near_copies(
    signatures: list[bytes | None], known_clips: pa.Table
) -> Iterator[tuple[int, str, float]]:
    """The number of each clip that shows the same acquisition as a known clip, and that clip."""
    names = known_clips["clip"].to_pylist()
    others = known_clips["signature"].to_pylist()
    if not any(others) or not any(signatures):
        return
    # Clips of one side share a group, so that only pairs across are compared.
    groups = [0] * len(others) + [1] * len(signatures)
    for match in matching.find_matches([*others, *signatures], groups):
        yield match.other - len(others), names[match.one], match.similarity
