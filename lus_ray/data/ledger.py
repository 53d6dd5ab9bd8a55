"""The ledger of a store: items that an ingest skipped, repaired or noted, with the reason.

An item is a clip by its name where it is in the store, else a file by its path below ROOT, or the
row of a table that has no file.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePath
from typing import Literal, get_args

from lus_ray.data.labels import Label
from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text, write_text
from lus_ray.storage.paths import PathOrUri

Action = Literal["skipped", "repaired", "noted"]
"""Not in the store; in the store, changed as the reason says; a fact that lost no clip."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
WHERE = re.compile(r"^(?:[^:]* row \d+|clip '[^:]*'|[^:]*\.\w+): ")
"""The file, row or clip before a reason."""
VALUE = re.compile(r"\b(is|file|as|of|at) '[^']*'")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class LedgerEntry:
    """What was done to an item (a file or a row) of a source, and why."""

    source: str
    item: str
    action: Action
    reason: str


@dataclass
class Ledger:
    """What became of the files and rows of one source.

    `used` are files and folders that were read beside the clips: tables, masks; they need no entry.
    `unlisted` is the reason for an image or video that the reader did not ask for, `other_columns`
    are columns of its tables that are not read, `labels` those that are labels of one's own.
    """

    entries: list[LedgerEntry] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)
    unlisted: str = "not a file of this source"
    other_columns: list[str] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)

    def skip(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "skipped", reason)

    def repair(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "repaired", reason)

    def note(self, source: str, item: str, reason: str) -> None:
        self._add(source, item, "noted", reason)

    def _add(self, source: str, item: str, action: Action, reason: str) -> None:
        reason = escape_name(re.sub(r"\s*[\r\n]\s*", " ", reason.strip()))
        self.entries.append(LedgerEntry(source, escape_name(item), action, reason))

    def use(self, *paths: Path) -> None:
        self.used.update(paths)

    def skipped(self) -> list[str]:
        """One line for each skipped item."""
        return [f"{e.item}: {_short(e)}" for e in self.entries if e.action == "skipped"]

    def counts(self) -> Counter[str]:
        return Counter(entry.action for entry in self.entries)

    def write(self, path: Path, *, source: str) -> None:
        """Replace the entries of one source in a JSON-lines file and keep those of others."""
        kept = [entry for entry in read(path) if entry.source != source]
        lines = [json.dumps(asdict(entry)) for entry in [*kept, *self.entries]]
        write_text(path, "".join(line + "\n" for line in lines))


def escape_name(name: str) -> str:
    r"""A file name on one line: bytes that are not UTF-8 as `\xe4`, control characters as `\n`."""
    return UNPRINTABLE.sub(lambda match: _escape(match[0]), name)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python decodes such a byte (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _short(entry: LedgerEntry) -> str:
    return entry.reason.removeprefix(f"{PurePath(entry.item).name}: ")


def count_reasons(
    entries: Iterable[LedgerEntry], action: Action = "skipped"
) -> list[tuple[str, int]]:
    """Reasons of an action with their counts, the most frequent first.

    Reasons that differ in the file, the row, quoted values or numbers count as one.
    """
    alike: dict[str, list[str]] = {}
    for entry in entries:
        if entry.action == action:
            reason = WHERE.sub("", _short(entry))
            alike.setdefault(NUMBER.sub("N", _mask_values(reason)), []).append(reason)
    counts = [(_summarize(reasons), len(reasons)) for reasons in alike.values()]
    return sorted(counts, key=lambda count: -count[1])


def _summarize(reasons: list[str]) -> str:
    """One text for reasons that differ in values and numbers alone."""
    if len(set(reasons)) == 1:
        return reasons[0]
    words = zip(*(_mask_values(reason).split() for reason in reasons), strict=True)
    return " ".join(same[0] if len(set(same)) == 1 else NUMBER.sub("N", same[0]) for same in words)


def _mask_values(reason: str) -> str:
    return VALUE.sub(r"\1 ...", reason)


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
