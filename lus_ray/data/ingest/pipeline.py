"""From a source to a store: read, decode in a pool, check, write.

A reader is a module of this package with `clips(root, ledger, **options)`: a generator of dicts,
sorted by patient, with schema columns and `file`, which is decoded here. `masks` may be a function
of the `DecodedVideo`. Patients with the same `group` stay in one group. `clips` of a simulator
gives `SimulatedClips`, from options that JSON can hold. The module name is the source:
"covid_blues" is read by `covid_blues.py`.
"""

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from lus_ray.data import ledger as ledgers
from lus_ray.data import store as stores
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.duplicates.groups import assign_groups
from lus_ray.data.ingest import own_labels
from lus_ray.data.ingest.conflicts import drop_conflicts
from lus_ray.data.ingest.patients import unify_patients
from lus_ray.data.ingest.simulation import SimulatedClips, SimulationPool
from lus_ray.data.ingest.source_files import walk, write_rest, write_unreadable
from lus_ray.data.ingest.summary import IngestSummary
from lus_ray.data.ingest.workers import IngestPool
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SkippedError, SourceError
from lus_ray.storage.paths import PathOrUri, is_remote, join
from lus_ray.suggestions import suggest

Progress = Callable[[int, int, int], None]
"""Called after each clip with clips done, clips in all, frames done."""


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
    decoded or clips simulated at once, one per core by default. A clip without a patient is
    refused, or with `missing_patient="own"` becomes its own patient; `store.json` keeps the policy.
    `options` go to the reader. A run that fails, is interrupted or killed leaves the store as it
    was: nothing is published before copies of one acquisition are joined. With `strict`, so does a
    run that skips anything.

    Every file below `root` ends as a clip, as a table or mask that was read, or in the ledger.

    Raises:
        SkippedError: with `strict`, if anything was skipped.
        SourceError: no such source or option, nothing to read, or no clip that can be used.
        StoreError: another ingest writes there, the ledger there is damaged, a label has other
            classes in another source, or the storage is unreachable or not writable.
    """
    start = time.perf_counter()
    reader = load_reader(source, options)
    if missing_patient not in ("refuse", "own"):
        raise SourceError(f"--missing-patient is {missing_patient!r}; use 'refuse' or 'own'")
    folder = _check_root(root)  # before anything is created where the store will be
    found = None if folder is None else walk(folder)
    ledger, summary = Ledger(), IngestSummary(source)
    if found is not None:
        write_unreadable(found, source, ledger)
    joined: set[tuple[str, str]] = set()
    ledgers.read(join(store, "ledger.jsonl"))  # refuses a damaged one before all the work
    with stores.stage_source(store, source) as draft:
        items = reader.clips(folder, ledger, **options)
        pool: IngestPool | SimulationPool
        if isinstance(items, SimulatedClips):
            pool = SimulationPool(source, options, workers)
        else:
            items = unify_patients(items, source, ledger, folder)
            if folder is not None:
                items = drop_conflicts(items, folder, source, ledger)
            own = {"labels": own_labels.describe(ledger.labels)}
            stores.merge_labels(store, {**stores.read_sources(draft.folder), source: own})
            limits = limits or DecodeLimits()
            pool = IngestPool(source, ledger, limits, max_side, missing_patient, workers, folder)
        total = len(items)
        with stores.Writer(draft.folder, source) as writer, pool:
            for row in pool.make_rows(items):
                writer.add(row)
                summary.add_clip(row)
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
            "labels": own_labels.describe(ledger.labels),
        }
        stores.record_source(draft.folder, source, facts)  # read by `assign_groups`
        summary.num_groups = assign_groups(draft.folder, draft.beside).num_groups
        summary.seconds = time.perf_counter() - start
        stores.record_source(draft.folder, source, {**facts, "summary": asdict(summary)})
    return summary


def list_sources() -> list[str]:
    return [name for name in _module_names() if hasattr(_module(name), "clips")]


def load_reader(source: str, options: dict[str, Any]) -> ModuleType:
    """The module of a source; SourceError if there is none, or it lacks an option."""
    if source not in _module_names() or not hasattr(_module(source), "clips"):
        known = list_sources()
        raise SourceError(f"no source {source!r}{suggest(source, known)}")
    reader = _module(source)
    parameters = inspect.signature(reader.clips).parameters
    allowed = list(parameters)[2:]
    takes_any = parameters[allowed[-1]].kind is inspect.Parameter.VAR_KEYWORD if allowed else False
    if unknown := sorted(set(options) - set(allowed)) if not takes_any else []:
        name, *known = (f"--{option.replace('_', '-')}" for option in (unknown[0], *allowed))
        raise SourceError(f"source {source!r} has no option {name}{suggest(name, known)}")
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


def _describe_failures(source: str, root: PathOrUri | None, ledger: Ledger) -> str:
    reasons = ledger.skipped()
    if len(reasons) > 3:
        reasons[3:] = [f"and {len(reasons) - 3} more"]
    return f"{source}: no clip in {root} can be used: {'; '.join(reasons) or 'it lists no clip'}"
