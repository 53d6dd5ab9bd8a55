"""The header and the rows of a CSV file, whose shape is checked strictly.

A shifted or swallowed cell is a wrong label that looks right: nothing is padded, cut or guessed,
and a table with one bad row is refused as a whole. Rows have the number of the line that they
start in, as editors show it.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lus_ray.data.ingest.tables.did_you_mean import find_close_columns
from lus_ray.data.patient_names import fold_name, normalize_name
from lus_ray.errors import SourceError

Line = tuple[int, list[str]]

OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or another ZIP file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF file",
    b"\x1f\x8b": "a gzip file",
    b"<": "a web page or an XML file",
}
SEPARATORS = {
    ";": "semicolons",
    '" "': "blanks",
    "\t": "tabs",
    "|": "vertical bars",
    "\uff0c": "full-width commas",
}
SAVE = "save it as 'CSV UTF-8', separated by commas"
SHORT_ROW = "keep the commas of empty cells; remove a line that is no row"
LONG_ROW = "quote a cell that holds a comma, and write 1.5 and not 1,5"
EXCEL_BLOCK = 16
"""Excel saves rows in blocks of 16 and omits the last columns where a block has none of them."""


def read(
    path: Path, required: Collection[str], known: Collection[str] = ()
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and per row its line and its stripped cells by column.

    A column without a name is called "(column 3)". `required` and `known` columns are those whose
    cells are used; line breaks are allowed only in others.

    Raises:
        SourceError: the file is missing or no table of this shape, or a required column is missing.
    """
    text = _read_text(path)
    rows = _split_rows(path, text)
    line, names = next(rows, (1, []))
    header = _name_columns(f"{path} row {line}", names)
    if lacking := [name for name in required if name not in header]:
        raise SourceError(f"{path}: {_describe_header(text, header, lacking[0], rows)}")
    used, listed = {*required, *known}, list(rows)
    cut_by_excel = _list_cut_rows(listed)
    table = []
    for number, cells in listed:
        where, extra = f"{path} row {number}", cells[len(header) :]
        is_short = len(cells) < len(header) and number not in cut_by_excel
        if is_short or any(map(str.strip, extra)):
            remedy = SHORT_ROW if is_short else LONG_ROW
            raise SourceError(
                f"{where}: {len(cells)} cells, but the header has {len(header)}; {remedy}"
            )
        padded = dict(zip(header, cells + [""] * len(header), strict=False))
        if {name.casefold() for name in required} <= {cell.strip().casefold() for cell in cells}:
            raise SourceError(f"{where}: repeats the column names; remove this line")
        _check_cells(where, padded, used, text)
        table.append((number, {name: cell.strip() for name, cell in padded.items()}))
    return header, table


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(
            f"{path}: no such file; add it, or correct the path: the labels are read from it"
        ) from error
    except OSError as error:
        raise SourceError(f"{path}: not readable ({error.strerror})") from error
    for start, kind in OTHER_FILES.items():
        if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(start):
            raise SourceError(f"{path}: {kind}, not a CSV file; {SAVE}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        separator = _find_separator(data.decode("utf-16", errors="replace"))
        raise SourceError(f"{path}: {f'UTF-16 text {separator}'.strip()}; {SAVE}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise SourceError(
            f"{path} row {line}: {byte} is not UTF-8, but perhaps Latin-1; {SAVE}"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SourceError(f"{path} row {line}: holds a NUL character; {SAVE}")
    return text


def _split_rows(path: Path, text: str) -> Iterator[Line]:
    """Rows that hold any text, with the line that they start in."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    start = 1
    try:
        for cells in reader:
            is_excel_hint = start == 1 and cells == ["sep=", ""]
            if any(map(str.strip, cells)) and not is_excel_hint:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        if separator := _find_separator(text):
            raise SourceError(f"{path}: {separator}; {SAVE}") from error
        raise SourceError(
            f"{path} row {start}: a quote opens in this row and does not close at the end of its "
            f"cell ({error}); close it, or write a quote inside of a cell twice"
        ) from error


def _name_columns(where: str, names: list[str]) -> list[str]:
    _check_cells(where, dict(zip(names, names, strict=True)), (), "")
    header = [normalize_name(name) for name in names]
    while header and not header[-1]:
        header.pop()
    for name, times in Counter(map(fold_name, filter(None, header))).items():
        if times > 1:
            same = dict.fromkeys(column for column in header if fold_name(column) == name)
            found = " and ".join(map(repr, same))
            raise SourceError(f"{where}: {times} columns are named {found}; keep one")
    return [name or f"(column {number})" for number, name in enumerate(header, start=1)]


def _check_cells(where: str, cells: dict[str, str], used: Collection[str], text: str) -> None:
    """Refuse cells that may have swallowed the end of their row and the start of the next one."""
    for index, (name, cell) in enumerate(cells.items()):
        lines = cell.splitlines()
        if len(lines) > 1 and (name in used or _may_hold_rows(lines, index, len(cells))):
            reason = "holds a line break; close the quote that opens in it, or write it in one line"
            raise SourceError(f"{where}: cell {name.partition(chr(10))[0]!r} {reason}")
        if name in used and cell.count('"') % 2 and not _is_escaped(cell, text):
            raise SourceError(f"{where}: {name!r} is {cell!r}; close the quote, or remove it")


def _is_escaped(cell: str, text: str) -> bool:
    """Whether the quotes of a cell are doubled in the file; slow: it searches the whole text."""
    return '"' + cell.replace('"', '""') + '"' in text


def _may_hold_rows(lines: list[str], index: int, num_columns: int) -> bool:
    """Whether the lines of a cell may be the end of a row, whole rows, and the start of a row."""
    ends = (num_columns - 1 - index, *[num_columns - 1] * (len(lines) - 2), index)
    return all(line.count(",") >= commas for line, commas in zip(lines, ends, strict=True))


def _list_cut_rows(rows: list[Line]) -> set[int]:
    """Rows in a block of Excel's whose rows have the same number of cells."""
    blocks: dict[int, list[Line]] = defaultdict(list)
    for number, cells in rows:
        blocks[(number - 1) // EXCEL_BLOCK].append((number, cells))
    blocks.pop(0, None)
    alike = [block for block in blocks.values() if len({len(cells) for _, cells in block}) == 1]
    return {number for block in alike if len(block) > 1 for number, _ in block}


def _describe_header(text: str, header: list[str], lacking: str, rows: Iterable[Line]) -> str:
    if separator := _find_separator(text):
        return f"{separator}; {SAVE}"
    for name in header:
        if find_close_columns(name, (lacking,), ()):
            return f"column {name!r} is unknown; did you mean {lacking!r}?"
    more = f" and {len(header) - 8} more" if len(header) > 8 else ""
    found = (", ".join(map(repr, header[:8])) + more) or "an empty file"
    below = [number for number, cells in rows if lacking in map(normalize_name, cells)]
    remedy = f"; remove what is above the column names in row {below[0]}" if below else "; add it"
    return f"column {lacking!r} is missing; found {found}{remedy}"


def _find_separator(text: str) -> str:
    """How the first line is separated if not by commas; else empty."""
    first, _, rest = text.lstrip("\ufeff\r\n ").replace("\r", "\n").partition("\n")
    first = rest.lstrip("\n").partition("\n")[0] if first.lower().startswith("sep=") else first
    names = [name for mark, name in SEPARATORS.items() if first.count(mark) > first.count(",")]
    return f"separated by {names[0]}" if names else ""
