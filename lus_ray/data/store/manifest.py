"""What a store says of its sources, how they were read and when; and which shards are the store.

Why shards are named: many files cannot be replaced in one step, and `store.json` can. A shard that
it does not name is left from a write that was interrupted. Where it names none, as in a store of an
earlier version, all that are there are the store.
"""

import json
from pathlib import Path
from typing import Any

from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text, write_text
from lus_ray.storage.paths import PathOrUri, join


def record_source(store: Path | str, source: str, facts: dict[str, Any]) -> None:
    """Keep in `store.json` of a folder how a source was read: options, policies, counts."""
    known = _known(store)
    sources = {**known.get("sources", {}), source: facts}
    _write(store, {"schema": 1, **known, "sources": sources})


def read_sources(store: PathOrUri) -> dict[str, Any]:
    """What `note` kept, by source."""
    return dict(_known(store).get("sources", {}))


def publish_shards(store: PathOrUri, noted: PathOrUri, shards: set[str]) -> None:
    """Make these shards the store, with the notes that another place holds, in one step."""
    _write(store, {"schema": 1, "sources": {}, **_known(noted), "shards": sorted(shards)})


def read_published_shards(store: PathOrUri) -> set[str] | None:
    """The names of the shards that are the store; None where it does not name them."""
    names = _known(store).get("shards")
    return None if names is None else set(names)


def _known(store: PathOrUri) -> dict[str, Any]:
    path = join(store, "store.json")
    text = read_text(path)
    if text is None:
        return {}
    try:
        known = json.loads(text)
        sources, shards = known["sources"], known.get("shards", [])
        if isinstance(sources, dict) and all(isinstance(name, str) for name in shards):
            return dict(known)
        raise ValueError("other keys than lus_ray writes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: not readable ({error}); ingest again") from error


def _write(store: PathOrUri, known: dict[str, Any]) -> None:
    write_text(join(store, "store.json"), json.dumps(known, indent=1, sort_keys=True) + "\n")
