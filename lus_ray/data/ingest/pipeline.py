"""From a source to a store: read, decode in a pool, check, write.

A reader is a module of this package with `clips(root, ledger, **options)`: a generator of dicts,
sorted by patient, with schema columns and `file`, which is decoded here. `masks` may be a function
of the `DecodedVideo`. Patients with the same `group` stay in one group. `clips` of a simulator
gives `SimulatedClips`, from options that JSON can hold. The module name is the source:
"covid_blues" is read by `covid_blues.py`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from lus_ray.data import ledger as ledgers
from lus_ray.data import store as stores
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.duplicates.groups import assign_groups
from lus_ray.data.duplicates.matching import Patches
from lus_ray.data.ingest.cluster_parts import ClusterParts, MapInOrder
from lus_ray.data.ingest.part_threads import PartThreads
from lus_ray.data.ingest.parts import PartSettings, write_parts
from lus_ray.data.ingest.readers import list_items, load_reader
from lus_ray.data.ingest.source_files import walk, write_rest, write_unreadable
from lus_ray.data.ingest.summary import IngestSummary
from lus_ray.data.ingest.tables import own_labels
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SkippedError, SourceError
from lus_ray.storage.paths import PathOrUri, is_remote, join

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
    map_in_order: MapInOrder | None = None,
    **options: Any,
) -> IngestSummary:
    """Read one source into a store, where it replaces its earlier clips.

    Frames with more than `max_side` pixels on the long side are area-averaged. `workers` files are
    decoded or clips simulated at once, one per core by default; with `map_in_order` the workers of
    a cluster do that, and find `root` under the same path. The store has the same clips and ledger
    in any case. A clip without a patient is refused, or with `missing_patient="own"` becomes its
    own patient; `store.json` keeps the policy. `options` go to the reader. A run that fails, is
    interrupted or killed leaves the store as it was: nothing is published before copies of one
    acquisition are joined. With `strict`, so does a run that skips anything.

    Every file below `root` ends as a clip, as a table or mask that was read, or in the ledger.

    Raises:
        SkippedError: with `strict`, if anything was skipped.
        SourceError: no such source or option, nothing to read, or no clip that can be used.
        StoreError: another ingest writes there, the ledger there is damaged, a label has other
            classes in another source, or the storage is unreachable or not writable.
    """
    start = time.perf_counter()
    load_reader(source, options)
    if missing_patient not in ("refuse", "own"):
        raise SourceError(f"--missing-patient is {missing_patient!r}; use 'refuse' or 'own'")
    folder = _check_root(root)  # before anything is created where the store will be
    found = None if folder is None else walk(folder)
    ledger, summary = Ledger(), IngestSummary(source)
    if found is not None:
        write_unreadable(found, source, ledger)
    joined: set[tuple[str, str]] = set()
    stored: list[Path] = []
    patches: dict[str, Patches] = {}
    ledgers.read(join(store, "ledger.jsonl"))  # refuses a damaged one before all the work
    with stores.stage_source(store, source) as draft:
        items = list_items(source, folder, ledger, options, missing_patient)
        settings = PartSettings(
            source, folder, options, limits or DecodeLimits(), max_side, missing_patient
        )
        pool = (
            PartThreads(settings, items, workers)
            if map_in_order is None
            else ClusterParts(settings, items, map_in_order)
        )
        own = {"labels": own_labels.describe(ledger.labels)}
        stores.merge_labels(store, {**stores.read_sources(draft.folder), source: own})
        with stores.Writer(draft.folder, source) as writer, pool:
            for made in write_parts(pool, len(items), writer, draft.folder / "parts", ledger):
                summary.add_clip(made.row, made.num_frames)
                stored += filter(None, [made.file])
                if made.patches is not None:
                    patches[made.row["clip"]] = made.patches
                if made.row["group"] != made.row["patient"]:
                    joined.add((made.row["patient"], made.row["group"]))
                if progress is not None:
                    progress(summary.num_clips, len(items), summary.num_frames)
            if found is not None:
                write_rest(found, stored, source, ledger)
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
        summary.num_groups = assign_groups(draft.folder, draft.beside, patches).num_groups
        summary.seconds = time.perf_counter() - start
        stores.record_source(draft.folder, source, {**facts, "summary": asdict(summary)})
    return summary


def _check_root(root: PathOrUri | None) -> Path | None:
    if root is not None and is_remote(root):
        raise SourceError(f"{root}: a source must be a local folder; download it first")
    if root is not None and not Path(root).is_dir():
        raise SourceError(f"{root}: no such folder; give the folder that holds the source")
    return None if root is None else Path(root)


def _describe_failures(source: str, root: PathOrUri | None, ledger: Ledger) -> str:
    reasons = ledger.skipped()
    if not reasons:
        if root is None:
            return f"{source}: makes no clip; give --patients 1 or more"
        return f"{root}: holds no clip of source {source!r}; give the folder of its files"
    if len(reasons) > 3:
        reasons[3:] = [f"and {len(reasons) - 3} more"]
    return f"{source}: no clip in {root} can be used: {'; '.join(reasons)}"
