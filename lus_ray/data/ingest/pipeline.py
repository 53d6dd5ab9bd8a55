"""From a source to a store: read, decode in a pool, check, write.

A reader is a module of this package with `clips(root, ledger, **options)`: a generator of dicts,
sorted by patient, with schema columns and either `file` (decoded here) or `frames` (uint8, axes
T H W). Beside `file`, `masks` may be a function of the `DecodedVideo`. Patients with the same
`group` stay in one group. The module name is the source: "covid_blues" is read by `covid_blues.py`.
"""

import importlib
import inspect
import itertools
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from lus_ray import clip
from lus_ray.data import ledger as ledgers
from lus_ray.data import store as stores
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.duplicates.groups import assign_groups
from lus_ray.data.ingest.conflicts import drop_conflicts
from lus_ray.data.ingest.did_you_mean import did_you_mean, find_close_values
from lus_ray.data.ingest.patients import unify_patients
from lus_ray.data.ingest.source_files import (
    SourceFiles,
    relative_name,
    walk,
    write_rest,
    write_unreadable,
)
from lus_ray.data.ingest.workers import IngestPool
from lus_ray.data.ledger import Action, Ledger, count_reasons
from lus_ray.errors import SkippedError, SourceError
from lus_ray.storage.paths import PathOrUri, is_remote, join

Progress = Callable[[int, int | None, int], None]
"""Called after each clip with clips done, clips in all (None where unknown), frames done."""

COUNTED = ("severity", "disease", "probe", "zone", "mask_scheme")


@dataclass
class IngestSummary:
    """Counts of an ingest; `labels` counts clips by column and value, without null.

    `labels["biomarkers"]` counts clips with any biomarker judged, `labels["sf_ratio"]` clips by
    class. `actions` counts ledger entries; `num_groups` is that of the whole store. `num_files` are
    all files below ROOT, `reasons` the three most frequent ones of what was skipped, with counts.
    """

    source: str
    num_clips: int = 0
    num_frames: int = 0
    num_patients: int = 0
    num_groups: int = 0
    seconds: float = 0.0
    num_files: int = 0
    num_skipped_files: int = 0
    num_skipped_rows: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    reasons: list[tuple[str, int]] = field(default_factory=list)
    other_columns: list[str] = field(default_factory=list)
    ledger: str = ""
    labels: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        return self.num_frames / self.seconds if self.seconds else 0.0

    def text(self) -> str:
        labels = (
            f"{column:<11} " + ", ".join(f"{value}: {num}" for value, num in counts.items())
            for column, counts in self.labels.items()
            if counts
        )
        actions = ", ".join(f"{num} {name}" for name, num in self.actions.items() if num)
        reasons = [f"{count} x {reason}" for reason, count in self.reasons]
        columns = ", ".join(map(repr, self.other_columns))
        lines = [
            f"{self.source}: stored {self.num_clips} clips of {self.num_patients} patients, "
            f"{self.num_frames} frames in {self.seconds:.1f} s "
            f"({self.frames_per_second:.0f} frames/s)",
            *labels,
            f"groups      {self.num_groups} in the whole store",
            f"ledger      {actions or 'nothing skipped or repaired'}: {self.ledger}",
            *(["columns     not read: " + columns] if columns else []),
            *("skipped     " + reason for reason in reasons),
        ]
        return "\n".join(
            [*lines, f"{line}: see {self.ledger}"] if (line := self.last_line()) else lines
        )

    def last_line(self) -> str:
        """How many files and rows were skipped; empty where nothing was."""
        parts = [f"{self.num_skipped_files} of {self.num_files} files"] * bool(
            self.num_skipped_files
        )
        if number := self.num_skipped_rows:
            parts.append(f"{number} table row{'s' if number > 1 else ''}")
        return "skipped " + " and ".join(parts) if parts else ""

    def add_ledger(self, ledger: Ledger, found: SourceFiles | None, path: PathOrUri) -> None:
        self.actions = {name: ledger.counts()[name] for name in get_args(Action)}
        self.reasons = count_reasons(ledger.entries)[:3]
        self.other_columns, self.ledger = ledger.other_columns, str(path)
        names = {relative_name(path, found.root) for path in found} if found else set()
        items = {entry.item for entry in ledger.entries if entry.action == "skipped"}
        self.num_files, self.num_skipped_files = len(names), len(items & names)
        self.num_skipped_rows = len(items - names)

    def contents(self) -> dict[str, Any]:
        return {**asdict(self), "frames_per_second": round(self.frames_per_second, 1)}


def ingest(
    source: str,
    root: PathOrUri | None,
    store: PathOrUri,
    *,
    max_side: int = 512,
    limits: DecodeLimits | None = None,
    workers: int | None = None,
    missing_patient: Literal["refuse", "own"] = "refuse",
    strict: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> IngestSummary:
    """Read one source into a store, where it replaces its earlier clips.

    Frames with more than `max_side` pixels on the long side are area-averaged. `workers` files are
    decoded at once, one per core by default. A clip without a patient is refused, or with
    `missing_patient="own"` becomes its own patient; `store.json` keeps the policy. `options` go to
    the reader. A run that fails, is interrupted or killed leaves the store as it was: nothing is
    published before copies of one acquisition are joined. With `strict`, so does a run that skips
    anything.

    Every file below `root` ends as a clip, as a table or mask that was read, or in the ledger.

    Raises:
        SkippedError: with `strict`, if anything was skipped.
        SourceError: no such source or option, nothing to read, or no clip that can be used.
        StoreError: another ingest writes there, the ledger there is damaged, or the storage is
            unreachable or not writable.
    """
    start = time.perf_counter()
    reader = _load_reader(source, options)
    if missing_patient not in ("refuse", "own"):
        raise SourceError(f"missing_patient is {missing_patient!r}; use 'refuse' or 'own'")
    folder = _check_root(root)  # before anything is created where the store will be
    found = None if folder is None else walk(folder)
    ledger, summary = Ledger(), IngestSummary(source)
    if found is not None:
        write_unreadable(found, source, ledger)
    joined: set[tuple[str, str]] = set()
    limits = limits or DecodeLimits()
    pool = IngestPool(source, ledger, limits, max_side, missing_patient, workers, folder)
    ledgers.read(join(store, "ledger.jsonl"))  # refuses a damaged one before all the work
    with stores.stage_source(store, source) as draft:
        with stores.Writer(draft.folder, source) as writer, pool:
            items, total = _list_items(
                reader.clips(folder, ledger, **options), folder, source, ledger
            )
            for row in pool.make_rows(items):
                writer.add(row)
                _count_labels(summary, row)
                if row["group"] != row["patient"]:
                    joined.add((row["patient"], row["group"]))
                if progress is not None:
                    progress(summary.num_clips, total, summary.num_frames)
            if found is not None:
                write_rest(found, pool.stored, source, ledger)
            if not summary.num_clips:
                raise SourceError(_describe_failures(source, root, ledger))
            summary.num_patients = len(writer.patients)
        summary.add_ledger(ledger, found, join(store, "ledger.jsonl"))
        if strict and (line := summary.last_line()):
            raise SkippedError(f"{line}; nothing is stored, as --strict is given", ledger.skipped())
        ledger.write(draft.folder / "ledger.jsonl", source=source)
        facts = {
            "max_side": max_side,
            "missing_patient": missing_patient,
            "options": {name: str(value) for name, value in options.items()},
            "joined": sorted(joined),
        }
        stores.record_source(draft.folder, source, facts)  # read by `assign_groups`
        summary.num_groups = assign_groups(draft.folder, draft.beside).num_groups
        summary.seconds = time.perf_counter() - start
        stores.record_source(draft.folder, source, {**facts, "summary": asdict(summary)})
    return summary


def list_sources() -> list[str]:
    return [name for name in _module_names() if hasattr(_module(name), "clips")]


def _load_reader(source: str, options: dict[str, Any]) -> ModuleType:
    if source not in _module_names() or not hasattr(_module(source), "clips"):
        known = list_sources()
        hint = did_you_mean(find_close_values(source, known))
        raise SourceError(f"no source {source!r}; there are {', '.join(known)}{hint}")
    reader = _module(source)
    allowed = list(inspect.signature(reader.clips).parameters)[2:]
    if unknown := sorted(set(options) - set(allowed)):
        names = ", ".join(allowed) or "none"
        raise SourceError(f"source {source!r} has no option {unknown[0]!r}; its options: {names}")
    return reader


def _module_names() -> list[str]:
    package = importlib.import_module(__package__)
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{name}")


def _check_root(root: PathOrUri | None) -> Path | None:
    if root is not None and is_remote(root):
        raise SourceError(f"{root}: a source must be a local folder; download it first")
    if root is not None and not Path(root).is_dir():
        raise SourceError(f"{root}: no such folder; give the folder that holds the source")
    return None if root is None else Path(root)


def _list_items(
    items: Iterator[dict[str, Any]], root: Path | None, source: str, ledger: Ledger
) -> tuple[Iterable[dict[str, Any]], int | None]:
    """List the items of a reader of files, which is cheap, but not those of a simulator."""
    first = next(items, None)
    if first is not None and "frames" in first:
        return itertools.chain([first], items), None
    listed = unify_patients([] if first is None else [first, *items], source, ledger, root)
    if root is not None:
        listed = drop_conflicts(listed, root, source, ledger)
    return listed, len(listed)


def _count_labels(summary: IngestSummary, row: clip.Row) -> None:
    summary.num_clips += 1
    summary.num_frames += len(row["frames"])
    values: dict[str, object] = {name: row[name] for name in COUNTED}
    values["biomarkers"] = None if row["biomarkers"] is None else "judged"
    ratio = row["sf_ratio"]
    values["sf_ratio"] = None if ratio is None else clip.SF_BINS[clip.sf_class(ratio)]
    for column, value in values.items():
        if value is not None:
            counts = Counter(summary.labels.get(column, {}))
            counts[str(value)] += 1
            summary.labels[column] = dict(sorted(counts.items()))


def _describe_failures(source: str, root: PathOrUri | None, ledger: Ledger) -> str:
    reasons = ledger.skipped()
    if len(reasons) > 3:
        reasons[3:] = [f"and {len(reasons) - 3} more"]
    return f"{source}: no clip in {root} can be used: {'; '.join(reasons) or 'it lists no clip'}"
