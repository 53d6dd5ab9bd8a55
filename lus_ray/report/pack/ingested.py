"""What an ingest skipped, repaired and left without a label, from the run and from its store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lus_ray.clip import PHANTOM, SYNTHETIC
from lus_ray.data import ledger, store
from lus_ray.data.labels import COLUMN
from lus_ray.data.ledger import Action, LedgerEntry
from lus_ray.errors import LusError
from lus_ray.evaluation import frame_arms, mask_arms
from lus_ray.report.pack.privacy import ReasonMask
from lus_ray.runs.manifest import RunRecord
from lus_ray.storage.paths import join, parse

DERIVED_FROM = {"sparse": ("dense",)}
"""Mask schemes that others are merged to."""


@dataclass(frozen=True)
class IngestedSource:
    """One source of clips.

    `actions` counts entries of the ledger by action, and `reasons` the same by action and masked
    reason; `reasons` is None where the ledger is gone. `missing` counts the clips without a label,
    by its column. `num_joined` patients share a group with another.
    """

    name: str
    kind: str
    num_clips: int | None = None
    num_patients: int | None = None
    num_files: int | None = None
    num_skipped_files: int | None = None
    max_side: int | None = None
    num_joined: int = 0
    actions: Mapping[str, int] | None = None
    reasons: Mapping[str, tuple[tuple[str, int], ...]] | None = None
    missing: Mapping[str, int] | None = None

    @property
    def is_synthetic(self) -> bool:
        return self.kind in SYNTHETIC


def read(record: RunRecord, run: Path) -> tuple[IngestedSource, ...]:
    """Every source that the run records; ledgers of the store where it is still the same."""
    entries = _read_ledger(record, run)
    labels = list(dict.fromkeys(arm.label for arm in record.arms if arm.label))
    return tuple(
        _describe(name, facts or {}, entries, labels) for name, facts in record.data.sources.items()
    )


def _read_ledger(record: RunRecord, run: Path) -> list[LedgerEntry] | None:
    """The ledger of the store that the run used; None where it is gone or has changed."""
    for text in filter(None, (record.data_path, str(run / PHANTOM))):
        try:
            place = parse(text)
            if store.read_sources(place) == record.data.sources and record.data.sources:
                return ledger.read(join(place, "ledger.jsonl"))
        except (LusError, OSError):
            continue
    return None


def _describe(
    name: str,
    facts: Mapping[str, Any],
    entries: Sequence[LedgerEntry] | None,
    labels: Sequence[str],
) -> IngestedSource:
    summary = facts.get("summary") or {}
    own = None if entries is None else [entry for entry in entries if entry.source == name]
    actions = summary.get("actions")
    if own:
        actions = dict(Counter(entry.action for entry in own))
    return IngestedSource(
        name=name,
        kind=str(summary.get("source") or name),
        num_clips=summary.get("num_clips"),
        num_patients=summary.get("num_patients"),
        num_files=summary.get("num_files") or None,
        num_skipped_files=summary.get("num_skipped_files"),
        max_side=facts.get("max_side"),
        num_joined=len(facts.get("joined") or ()),
        actions=actions,
        reasons=None if own is None else _count_reasons(own),
        missing=_count_missing(summary, labels),
    )


def _count_reasons(entries: Sequence[LedgerEntry]) -> dict[str, tuple[tuple[str, int], ...]]:
    mask = ReasonMask(entry.item for entry in entries)
    counts: dict[str, tuple[tuple[str, int], ...]] = {}
    for action in get_args(Action):
        reasons = Counter(
            mask.apply(ledger.count_reasons([entry], action)[0][0])
            for entry in entries
            if entry.action == action
        )
        counts[action] = tuple(reasons.most_common())
    return counts


def _count_missing(summary: Mapping[str, Any], labels: Sequence[str]) -> dict[str, int] | None:
    """Stored clips without a label, by its column; None where the run does not record the counts.

    An ingest does not count scores of frames.
    """
    counts, num_clips = summary.get("labels"), summary.get("num_clips")
    if counts is None or num_clips is None:
        return None
    missing = {}
    for label in labels:
        if label == frame_arms.SEVERITY:
            continue
        scheme = mask_arms.scheme_of(label)
        column = COLUMN.get(label, label)
        own = counts.get("mask_scheme" if scheme else column) or {}
        schemes = (scheme, *DERIVED_FROM.get(scheme, ())) if scheme else own
        known = sum(own.get(name, 0) for name in schemes)
        missing[column] = max(num_clips - known, 0)
    return missing
