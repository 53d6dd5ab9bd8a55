"""CSV files of labels with strict cell parsers.

A parser returns a value, None for an empty cell ("not annotated"), or raises a `SourceError` with
the row, the column and the text found. Nothing is coerced.
"""

import csv
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lus_ray.errors import SourceError

MISSING_CODES = frozenset((-99.0, -96.0))
"""Codes of clinical tables for "not known" and "does not apply"."""


@dataclass(frozen=True)
class TableRow:
    """One row of a CSV file: `where` names file and line, cells have no surrounding blanks."""

    where: str
    cells: dict[str, str]

    def text(self, column: str) -> str | None:
        return self.cells[column] or None

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
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if codes and value in MISSING_CODES:
            return None
        if not low <= value <= high:  # false for NaN as well
            raise SourceError(f"{self._at(column)}; write a number {low:g} to {high:g}, or nothing")
        return value

    def path(self, column: str, root: Path) -> Path:
        """An existing path below `root`, links resolved; an empty cell is refused."""
        text = self.cells[column]
        if not text:
            raise SourceError(f"{self._at(column)}; write a path below the folder")
        path = (root / text).resolve()
        if not path.is_relative_to(root.resolve()):
            reason = "leads out of the folder; move the file into it"
            raise SourceError(f"{self.where}: {text!r} {reason}")
        if not path.exists():
            raise SourceError(f"{self.where}: no file {text!r} in the folder")
        return path

    def _at(self, column: str) -> str:
        return f"{self.where}: {column!r} is {self.cells[column]!r}"


def read(path: Path, required: Collection[str]) -> tuple[list[str], list[TableRow]]:
    """Column names and rows of a CSV file with a header line.

    Raises:
        SourceError: the file is missing or not text, or lacks a required column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if lacking := [name for name in required if name not in header]:
                reason = f"column {lacking[0]!r} is missing; found {_short(header)}"
                raise SourceError(f"{path}: {reason}")
            return header, list(_rows(path, header, reader))
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file; the labels are read from it") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a readable CSV file ({error}); save it as UTF-8") from error


def _rows(path: Path, header: list[str], reader: Iterator[list[str]]) -> Iterator[TableRow]:
    for number, cells in enumerate(reader, start=2):
        if any("\0" in cell for cell in cells):
            raise SourceError(f"{path} row {number}: holds a NUL character; save it as plain text")
        if any(cell.strip() for cell in cells):
            padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
            yield TableRow(f"{path.name} row {number}", dict(zip(header, padded, strict=False)))


def _short(header: list[str]) -> str:
    more = f" and {len(header) - 8} more" if len(header) > 8 else ""
    return ", ".join(map(repr, header[:8])) + more or "an empty file"
