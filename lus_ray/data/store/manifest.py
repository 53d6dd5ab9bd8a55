"""`store.json`: how each source was read, and which shards are the store.

Why shards are named: many files cannot be replaced in one step, `store.json` can. A shard that it
does not name is left over from an interrupted write. A manifest of an earlier version names none;
then all shards that exist are the store.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lus_ray.data.labels import Label
from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text, write_text
from lus_ray.storage.paths import PathOrUri, join

MANIFEST = "store.json"


def record_source(store: Path | str, source: str, facts: dict[str, Any]) -> None:
    manifest = _read(store)
    sources = {**manifest.get("sources", {}), source: facts}
    _write(store, {"schema": 1, **manifest, "sources": sources})


def read_sources(store: PathOrUri) -> dict[str, Any]:
    return dict(_read(store).get("sources", {}))


def read_labels(store: PathOrUri) -> dict[str, Label]:
    """Labels of one's own that the clips of a store have, by name.

    Raises:
        StoreError: two sources have the same label with classes that do not fit together.
    """
    return merge_labels(store, read_sources(store))


def merge_labels(store: PathOrUri, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Label]:
    """The labels of several sources, from their facts in `store.json`.

    Classes without an order are united. Grades stay in the order of the source that has the most;
    those of the others must appear in it in the same order.

    Raises:
        StoreError: two orders do not fit together.
    """
    merged: dict[str, Label] = {}
    for source, facts in sorted(sources.items()):
        for name, kind in facts.get("labels", {}).items():
            label = Label(name, tuple(kind["classes"]), bool(kind["ordered"]))
            known = merged.get(name, label)
            if (united := _unite(known, label)) is None:
                raise StoreError(
                    f"{store}: label {name!r} has the classes {', '.join(label.classes)} in source "
                    f"{source!r}, but {', '.join(known.classes)} before; ingest one of them again "
                    f"with --classes '{name}=...'"
                )
            merged[name] = united
    return merged


def _unite(first: Label, second: Label) -> Label | None:
    if not first.ordered and not second.ordered:
        return replace(first, classes=tuple(sorted({*first.classes, *second.classes})))
    if first.ordered != second.ordered:
        ordered, other = (first, second) if first.ordered else (second, first)
        return ordered if set(other.classes) <= set(ordered.classes) else None
    fewer, more = sorted((first, second), key=lambda label: len(label.classes))
    in_order = tuple(name for name in more.classes if name in fewer.classes)
    return more if in_order == fewer.classes else None


def publish_shards(store: PathOrUri, manifest: PathOrUri, shards: set[str]) -> None:
    """Make these shards the store in one step, with the source records at `manifest`."""
    _write(store, {"schema": 1, "sources": {}, **_read(manifest), "shards": sorted(shards)})


def read_published_shards(store: PathOrUri) -> set[str] | None:
    """Names of the shards of the store; None where the manifest does not name them."""
    names = _read(store).get("shards")
    return None if names is None else set(names)


def _read(store: PathOrUri) -> dict[str, Any]:
    path = join(store, MANIFEST)
    text = read_text(path)
    if text is None:
        return {}
    try:
        manifest = json.loads(text)
        sources, shards = manifest["sources"], manifest.get("shards", [])
        if isinstance(sources, dict) and all(isinstance(name, str) for name in shards):
            return dict(manifest)
        raise ValueError("other keys than lus_ray writes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not readable ({error}); ingest again") from error


def _write(store: PathOrUri, manifest: dict[str, Any]) -> None:
    write_text(join(store, MANIFEST), json.dumps(manifest, indent=1, sort_keys=True) + "\n")
