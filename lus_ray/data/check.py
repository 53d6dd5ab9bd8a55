"""The check of a store: counts, copies, leaks, damage and a contact sheet.

It changes no clip. It reads every page of every shard, so that damage shows here and not in the
middle of a run; a damaged shard is skipped and the others are still counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lus_ray.data import contact_sheet, label_counts, ledger, patient_names, store
from lus_ray.data.duplicates import groups as duplicates
from lus_ray.data.label_counts import NOT_ANNOTATED, Counts
from lus_ray.errors import StoreError
from lus_ray.storage import files, paths
from lus_ray.storage.paths import PathOrUri

FEW_PATIENTS = 4
"""A label with fewer patients than this is absent from some part of the published folds."""

SHOWN_VALUES = 12
"""Values of a column that the text lists; `contents` has all."""


@dataclass(frozen=True)
class Findings:
    """Result of a check.

    `counts` are by title and value, see `label_counts.count_values`; `own_labels` are the titles of
    those that are labels of one's own. `biomarkers` are clips with and without it and annotated
    patients, by name. `pairs` are
    copies across patients; `loose` are clips whose stored group differs from that of their copies.
    `same_patients` differ only in case, blanks, dashes or Unicode form, and share a group;
    `similar_patients` may be one person as well and do not.
    `ledger` counts events by source, action and reason. `damaged` are shards with the reason.
    """

    num_clips: int
    num_patients: int
    num_groups: int
    num_frames: int
    num_bytes: int
    counts: Mapping[str, Counts]
    own_labels: tuple[str, ...]
    biomarkers: Mapping[str, tuple[int, int, int]]
    sizes: Counts
    pairs: tuple[duplicates.DuplicatePair, ...]
    loose: tuple[str, ...]
    same_patients: tuple[tuple[str, ...], ...]
    similar_patients: tuple[tuple[str, ...], ...]
    ledger: tuple[tuple[str, str, str, int], ...]
    damaged: Mapping[str, str]
    policies: Mapping[str, str]
    suggestions: tuple[str, ...]
    sheet: contact_sheet.Sheet

    def contents(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "sheet"}

    def text(self) -> str:
        return "\n".join(_lines(self))


def check_store(path: PathOrUri) -> Findings:
    """Read and check a whole store.

    Raises:
        StoreError: there is no store here, or none of its shards can be read.
    """
    index, damaged = _read(path)
    pairs = duplicates.find_pairs(index)
    group_of = duplicates.join_groups(index, pairs, duplicates.read_given_groups(path))
    columns = ("clip", "group", "patient", "height", "width")
    clips, groups, patients, *sides = (index[name].to_pylist() for name in columns)
    stored_groups: dict[str, set[str]] = defaultdict(set)
    for clip, group in zip(clips, groups, strict=True):
        stored_groups[group_of[clip]].add(group)
    loose = tuple(clip for clip in clips if len(stored_groups[group_of[clip]]) > 1)
    named = set(patients) - set(clips)  # not clips that count as their own patient
    sizes = [f"{height} x {width}" for height, width in zip(*sides, strict=True)]
    own = store.read_labels(path)
    counts = label_counts.count_values(index, own)
    sources = store.read_sources(path).items()
    policies = {source: str(facts.get("missing_patient", "")) for source, facts in sources}
    counted_events = tuple(_count_events(ledger.read(paths.join(path, "ledger.jsonl"))))
    return Findings(
        num_clips=index.num_rows,
        num_patients=len(set(patients)),
        num_groups=len(set(group_of.values())),
        num_frames=int(pc.sum(index["num_frames"]).as_py()),
        num_bytes=sum(map(paths.file_size, store.list_shards(path))),
        counts=counts,
        own_labels=tuple(own),
        biomarkers=label_counts.count_biomarkers(index),
        sizes=dict(
            sorted(label_counts.count(sizes, patients).items(), key=lambda item: -item[1][0])
        ),
        pairs=pairs,
        loose=loose,
        same_patients=patient_names.find_same(named),
        similar_patients=patient_names.find_similar(named),
        ledger=counted_events,
        damaged=damaged,
        policies=policies,
        suggestions=tuple(
            _suggestions(
                counts,
                pairs,
                loose,
                counted_events,
                damaged,
                policies,
                titles=(*label_counts.LABELS, *own),
                sexes=label_counts.find_contradictions(index),
                unfinished=store.has_unfinished_ingest(path),
            )
        ),
        sheet=contact_sheet.make_sheet(path, index, own),
    )


def write_page(findings: Findings, path: PathOrUri) -> Path:
    """Write findings and contact sheet as `check.html` into the store.

    For a store on object storage it is `check-<name>.html` in the current folder, as readers of a
    store may not be allowed to write there.
    """
    remote = paths.is_remote(path)
    page = Path(f"check-{paths.basename(path)}.html") if remote else Path(path) / "check.html"
    html = contact_sheet.render_page(findings.text(), findings.pairs, findings.sheet)
    files.write_text(page, html)
    return page


def _read(path: PathOrUri) -> tuple[pa.Table, dict[str, str]]:
    shards = store.list_shards(path)
    if not shards:
        store.read_index(path)  # raises, with the remedy
    parts, damaged = [], {}
    for shard in shards:
        try:
            parts.append(_read_shard(shard))
        except (StoreError, pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            damaged[paths.basename(shard)] = reason.removeprefix(f"{shard}: ")
    if not parts:
        raise StoreError(f"{path}: none of {len(shards)} shards can be read; ingest again")
    return pa.concat_tables(parts).sort_by("clip").combine_chunks(), damaged


def _read_shard(shard: PathOrUri) -> pa.Table:
    file = store.open_shard(shard)
    if not file.num_row_groups:
        raise StoreError(f"{shard}: holds no clips")
    groups = map(file.read_row_group, range(file.num_row_groups))  # every page of every column
    num_frames = [n for group in groups for n in pc.list_value_length(group["frames"]).to_pylist()]
    return store.index_shard(shard).append_column("num_frames", pa.array(num_frames, pa.int32()))


def _count_events(entries: list[ledger.LedgerEntry]) -> list[tuple[str, str, str, int]]:
    """Source, action, reason and number of alike entries, the most frequent first."""
    alike: dict[tuple[str, ledger.Action], list[ledger.LedgerEntry]] = defaultdict(list)
    for entry in entries:
        alike[entry.source, entry.action].append(entry)
    events = [
        (*key, reason, number)
        for key, group in alike.items()
        for reason, number in ledger.count_reasons(group, key[1])
    ]
    return sorted(events, key=lambda event: -event[3])


def _suggestions(
    counts: Mapping[str, Counts],
    pairs: tuple[duplicates.DuplicatePair, ...],
    loose: tuple[str, ...],
    events: tuple[tuple[str, str, str, int], ...],
    damaged: Mapping[str, str],
    policies: Mapping[str, str],
    *,
    titles: Iterable[str],
    sexes: Mapping[str, tuple[str, ...]],
    unfinished: bool,
) -> Iterable[str]:
    if unfinished:
        yield "an ingest is writing here, or was killed: the next one removes what it left"
    for name in damaged:
        yield f"{name} cannot be read: ingest source {name.rpartition('-')[0]!r} again"
    if loose:
        yield f"{len(loose)} clips belong to another group: ingest their source again"
    if conflicts := sum(bool(pair.conflicts) for pair in pairs):
        yield f"{conflicts} pairs of copies carry different labels: decide which one is right"
    if skipped := sum(number for _, action, _, number in events if action == "skipped"):
        items = "1 item was" if skipped == 1 else f"{skipped} items were"
        yield f"{items} skipped: see ledger.jsonl"
    for patient, found in sexes.items():
        yield f"patient {patient!r} is {' and '.join(found)}: mend one, or give two names"
    for source, policy in policies.items():
        if policy == "own":
            yield f"{source}: a clip without a patient id counts as a patient of its own"
    for title in titles:
        for value, (_, num_patients) in counts[title].items():
            if value != NOT_ANNOTATED and num_patients < FEW_PATIENTS:
                yield f"{title} {value!r} is in few patients ({num_patients}): folds may lack it"


def _lines(f: Findings) -> Iterable[str]:
    yield (
        f"{f.num_clips} clips, {f.num_frames} frames, {f.num_bytes / 1e6:.0f} MB; "
        f"{f.num_patients} patients in {f.num_groups} groups"
    )
    for title, counts in {**f.counts, "frame size (pixels)": f.sizes}.items():
        if set(counts) != {NOT_ANNOTATED}:
            kind = "  (own label)" if title in f.own_labels else ""
            yield from ("", f"{title:32} clips  patients{kind}")
            yield from _count_lines(counts)
    if f.biomarkers:
        yield from ("", f"{'biomarker':32} present  absent  patients judged")
        for name, (yes, no, num_patients) in f.biomarkers.items():
            yield f"  {name:30} {yes:7} {no:7} {num_patients:16}"
    for title, sets in (
        ("patients joined by spelling", f.same_patients),
        ("patients that may be one person", f.similar_patients),
    ):
        if sets:
            yield from ("", f"{title}: {len(sets)}")
            yield from (f"  {' = '.join(names)}" for names in sets)
    yield from ("", f"copies across patients: {len(f.pairs)}")
    for pair in f.pairs:
        note = f"; labels differ: {', '.join(pair.conflicts)}" if pair.conflicts else ""
        yield f"  {pair.one} = {pair.other} ({pair.kind}, {pair.similarity:.2f}{note})"
    if f.ledger:
        yield from ("", "ledger")
        yield from (f"  {src}: {n} {act}: {why}" for src, act, why, n in f.ledger)
    yield from ("", f"damaged shards: {len(f.damaged)}")
    yield from (f"  {name}: {reason}" for name, reason in f.damaged.items())
    if f.suggestions:
        yield from ("", "to do")
        yield from (f"  {suggestion}" for suggestion in f.suggestions)


def _count_lines(counts: Counts) -> Iterable[str]:
    shown = list(counts.items())
    if len(shown) > SHOWN_VALUES:
        most = {name for name, _ in sorted(shown, key=lambda item: -item[1][0])[:SHOWN_VALUES]}
        shown = [item for item in shown if item[0] in most]
    yield from (f"  {name:30} {num_clips:5} {n:9}" for name, (num_clips, n) in shown)
    if more := len(counts) - len(shown):
        yield f"  and {more} more values with fewer clips"
