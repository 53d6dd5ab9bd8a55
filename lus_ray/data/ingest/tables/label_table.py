"""CSV files of labels with strict cell parsers.

A parser returns a value, None for an empty cell ("not annotated"), or raises a `SourceError` with
the row, the column and the text found. Nothing is coerced.
"""

import math
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from lus_ray.data.ingest.tables import csv_file
from lus_ray.data.patient_names import fold_name
from lus_ray.errors import SourceError
from lus_ray.suggestions import did_you_mean, find_close

T = TypeVar("T")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

MISSING_CODES = frozenset((-99.0, -96.0))
"""Codes of clinical tables for "not known" and "does not apply"."""


@dataclass(frozen=True)
class TableRow:
    """One row of a CSV file: `where` names file and line, cells have no surrounding blanks."""

    where: str
    cells: dict[str, str]

    def text(self, column: str) -> str | None:
        return self.cells[column] or None

    def one_of(
        self, column: str, allowed: Collection[str], *, any_case: bool = False
    ) -> str | None:
        """One of the allowed values."""
        text = self.cells[column].lower() if any_case else self.cells[column]
        if not text or text in allowed:
            return text or None
        close = find_close(text, allowed)
        remedy = did_you_mean(close) or f"; write one of {', '.join(allowed)}, or nothing"
        raise SourceError(f"{self._at(column)}{remedy}")

    def yes_no(self, column: str) -> bool | None:
        """yes, no, 1, 0, true, false in any case."""
        text = self.cells[column].lower()
        if text in ("yes", "1", "1.0", "true"):
            return True
        if text in ("no", "0", "0.0", "false"):
            return False
        if not text:
            return None
        raise SourceError(f"{self._at(column)}; write yes, no, 1, 0, or nothing")

    def whole(self, column: str, *, low: int, high: int) -> int | None:
        """A whole number within bounds, also written 2.0."""
        value = self.number(column, low=low, high=high)
        if value is not None and value != int(value):
            allowed = f"a whole number {low} to {high}, or nothing"
            raise SourceError(f"{self._at(column)}; write {allowed}")
        return None if value is None else int(value)

    def number(self, column: str, *, low: float, high: float, codes: bool = False) -> float | None:
        """A finite number within bounds; with `codes`, None for `MISSING_CODES`."""
        text = self.cells[column]
        if not text:
            return None
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if codes and value in MISSING_CODES:
            return None
        if not low <= value <= high:  # false for NaN as well
            point = ", with a decimal point" if "," in text else ""
            allowed = f"a number {low:g} to {high:g}{point}, or nothing"
            raise SourceError(f"{self._at(column)}; write {allowed}")
        return value

    def path(self, column: str, root: Path) -> Path:
        """An existing path below `root`, which may be a link; an empty cell is refused."""
        text = self.cells[column]
        if not text:
            raise SourceError(f"{self._at(column)}; write a path below the folder")
        try:
            # Dots are resolved before links, so that a link to a folder has no parent.
            path = Path(os.path.abspath(_find_path(root, text)))
            exists = path.exists()
        except OSError as error:
            raise SourceError(f"{self.where}: {text!r}: {error.strerror}") from error
        if not path.is_relative_to(os.path.abspath(root)):
            reason = "leads out of the folder; move the file into it"
            raise SourceError(f"{self.where}: {text!r} {reason}")
        if not exists:
            hint = did_you_mean(_find_same_stem(path))
            raise SourceError(f"{self.where}: no file {text!r} in the folder{hint}")
        return path

    def _at(self, column: str) -> str:
        return f"{self.where}: {column!r} is {self.cells[column]!r}"


def _find_path(root: Path, text: str) -> Path:
    r"""The path, or the only one whose name has the same letters in another Unicode form.

    A path of Windows, as `sub\a.png`, leads to `sub/a.png`.
    """
    if "\\" in text and not (root / text).exists():
        text = PureWindowsPath(text).as_posix()
    path = root
    for part in PurePosixPath(text).parts:
        same = []
        if not (path / part).exists() and path.is_dir() and path.is_relative_to(root):
            same = [entry for entry in path.iterdir() if _compose(entry.name) == _compose(part)]
        path = same[0] if len(same) == 1 else path / part
    return path


def _find_same_stem(path: Path) -> list[str]:
    """Files beside `path` whose name differs in case or extension alone."""
    beside = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    same = [name for name in beside if fold_name(name) == fold_name(path.name)]
    return same or [name for name in beside if fold_name(Path(name).stem) == fold_name(path.stem)]


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def read(
    path: Path, required: Collection[str], known: Collection[str] = ()
) -> tuple[list[str], list[TableRow]]:
    """Column names and rows of a CSV file; the cells of `required` and `known` columns are used.

    Raises:
        SourceError: see `csv_file.read`.
    """
    header, rows = csv_file.read(path, required, known)
    return header, [TableRow(f"{path.name} row {number}", cells) for number, cells in rows]


def parse_all(rows: Sequence[TableRow], parse: Callable[[TableRow], T]) -> list[T]:
    """`parse` of every row, before anything is decoded.

    Raises:
        SourceError: the first failure, with the number of rows that fail.
    """
    parsed, failures = [], []
    for row in rows:
        try:
            parsed.append(parse(row))
        except SourceError as error:
            failures.append(str(error))
    if failures:
        more = f" ({len(failures)} rows have errors)" if len(failures) > 1 else ""
        raise SourceError(failures[0] + more)
    return parsed
