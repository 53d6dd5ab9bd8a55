"""The ledger of a store: items that an ingest skipped, repaired or noted, with the reason."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text, write_text
from lus_ray.storage.paths import PathOrUri

Action = Literal["skipped", "repaired", "noted"]
"""Not in the store; in the store, changed as the reason says; in the store as it was."""


@dataclass(frozen=True)
class LedgerEntry:
    """What was done to an item (a file or a row) of a source, and why."""

    source: str
    item: str
    action: Action
    reason: str


@dataclass
class Ledger:
    entries: list[LedgerEntry] = field(default_factory=list)

    def skip(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "skipped", reason)

    def repair(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "repaired", reason)

    def note(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "noted", reason)

    def _add(self, source: str, item: str, action: Action, reason: str) -> None:
        self.entries.append(LedgerEntry(source, item, action, " ".join(reason.split())))

    def counts(self) -> Counter[str]:
        return Counter(entry.action for entry in self.entries)

    def write(self, path: Path, *, source: str) -> None:
        """Replace the entries of one source in a JSON-lines file and keep those of others."""
        kept = [entry for entry in read(path) if entry.source != source]
        lines = [json.dumps(asdict(entry)) for entry in [*kept, *self.entries]]
        write_text(path, "".join(line + "\n" for line in lines))


def read(path: PathOrUri) -> list[LedgerEntry]:
    """The entries of a ledger file; a missing file has none.

    Raises:
        StoreError: a line is not an entry, or the file is not readable.
    """
    lines = (read_text(path) or "").splitlines()
    return [_entry(line, f"{path} line {number}") for number, line in enumerate(lines, start=1)]


def _entry(line: str, where: str) -> LedgerEntry:
    try:
        entry = json.loads(line)
        names = {field.name for field in fields(LedgerEntry)}
        if set(entry) != names or not all(isinstance(entry[name], str) for name in names):
            raise ValueError(f"it has the texts {', '.join(sorted(names))}")
        if entry["action"] not in get_args(Action):
            raise ValueError(f"an action is one of {', '.join(get_args(Action))}")
        return LedgerEntry(**entry)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{where}: not a ledger entry ({error}); remove the line") from error
