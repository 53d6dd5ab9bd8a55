"""The ledger: what was skipped or repaired, where, and why. Nothing is dropped in silence."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text, write_text
from lus_ray.storage.paths import PathOrUri

Action = Literal["skipped", "repaired", "noted"]


@dataclass(frozen=True)
class LedgerEntry:
    """One event: the source and the item (file or row) it concerns, what was done, and why."""

    source: str
    item: str
    action: Action
    reason: str


@dataclass
class Ledger:
    """Entries in the order they happened."""

    entries: list[LedgerEntry] = field(default_factory=list)

    def skip(self, source: str, item: str, reason: str) -> None:
        """The item is not in the store."""
        self.entries.append(LedgerEntry(source, item, "skipped", " ".join(reason.split())))

    def repair(self, source: str, item: str, reason: str) -> None:
        """The item is in the store, changed as the reason says."""
        self.entries.append(LedgerEntry(source, item, "repaired", " ".join(reason.split())))

    def note(self, source: str, item: str, reason: str) -> None:
        """The item is in the store as it was; a reader should know this of it."""
        self.entries.append(LedgerEntry(source, item, "noted", " ".join(reason.split())))

    def counts(self) -> Counter[str]:
        """Number of entries by action."""
        return Counter(entry.action for entry in self.entries)

    def write(self, path: Path, *, source: str) -> None:
        """Replace the entries of one source in a JSON-lines file and keep those of others."""
        kept = [entry for entry in read(path) if entry.source != source]
        lines = [json.dumps(asdict(entry)) for entry in [*kept, *self.entries]]
        write_text(path, "".join(line + "\n" for line in lines))


def read(path: PathOrUri) -> list[LedgerEntry]:
    """The entries of a ledger file; an absent file has none.

    Raises:
        StoreError: a line is no entry, or the file is not readable.
    """
    lines = (read_text(path) or "").splitlines()
    return [_entry(line, f"{path} line {number}") for number, line in enumerate(lines, start=1)]


def _entry(line: str, where: str) -> LedgerEntry:
    try:
        found = json.loads(line)
        names = {field.name for field in fields(LedgerEntry)}
        if set(found) != names or not all(isinstance(found[name], str) for name in names):
            raise ValueError(f"it has the texts {', '.join(sorted(names))}")
        if found["action"] not in get_args(Action):
            raise ValueError(f"an action is one of {', '.join(get_args(Action))}")
        return LedgerEntry(**found)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{where}: no entry of a ledger ({error}); remove the line") from error
