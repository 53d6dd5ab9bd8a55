"""`store.json`: how each source was read, and which shards are the store.

Why shards are named: many files cannot be replaced in one step, `store.json` can. A shard that it
does not name is left over from an interrupted write. A manifest of an earlier version names none;
then all shards that exist are the store.
"""

import json
from pathlib import Path
from typing import Any

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
