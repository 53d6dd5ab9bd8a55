"""The ledger: what was skipped or repaired, where, and why. Nothing is dropped in silence."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from lus_ray.files import read_text
from lus_ray.places import Place

Action = Literal["skipped", "repaired", "noted"]


@dataclass(frozen=True)
class Entry:
    """One event: the source and the item (file or row) it concerns, what was done, and why."""

    source: str
    item: str
    action: Action
    reason: str


@dataclass
class Ledger:
    """Entries in the order they happened."""

    entries: list[Entry] = field(default_factory=list)

    def skip(self, source: str, item: str, reason: str) -> None:
        """The item is not in the store."""
        self.entries.append(Entry(source, item, "skipped", " ".join(reason.split())))

    def repair(self, source: str, item: str, reason: str) -> None:
        """The item is in the store, changed as the reason says."""
        self.entries.append(Entry(source, item, "repaired", " ".join(reason.split())))

    def note(self, source: str, item: str, reason: str) -> None:
        """The item is in the store as it was; a reader should know this of it."""
        self.entries.append(Entry(source, item, "noted", " ".join(reason.split())))

    def counts(self) -> Counter[str]:
        """Number of entries by action."""
        return Counter(entry.action for entry in self.entries)

    def write(self, path: Path, *, source: str) -> None:
        """Replace the entries of one source in a JSON-lines file and keep those of others."""
        kept = [entry for entry in read(path) if entry.source != source]
        lines = [json.dumps(asdict(entry)) for entry in [*kept, *self.entries]]
        aside = path.with_name(f".{path.name}.writing")
        aside.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        aside.replace(path)


def read(path: Place) -> list[Entry]:
    """The entries of a ledger file; an absent file has none."""
    return [Entry(**json.loads(line)) for line in (read_text(path) or "").splitlines()]
