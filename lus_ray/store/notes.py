"""What a store says of its sources: how they were read, and when."""

import json
from pathlib import Path
from typing import Any

from lus_ray.errors import StoreError
from lus_ray.files import write_text


def note(store: Path | str, source: str, facts: dict[str, Any]) -> None:
    """Keep in `store.json` how a source was read: options, policies, counts."""
    path = Path(store) / "store.json"
    empty: dict[str, Any] = {"schema": 1, "sources": {}}
    known = json.loads(path.read_text()) if path.exists() else empty
    known["sources"][source] = facts
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")


def notes(store: Path | str) -> dict[str, Any]:
    """What `note` kept, by source."""
    path = Path(store) / "store.json"
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text())["sources"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not readable ({error}); ingest again") from error
