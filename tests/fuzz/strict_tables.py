"""What a strict reader makes of a table and its cells, written without the reader under test.

A table that is not UTF-8 or has an unclosed quote has no rows; a row with fewer or more cells
than the header, or with a line break in a cell other than a comment or one without a column name,
is none.
"""

import csv
import io
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lus_ray.clip import BIOMARKERS

Parser = Callable[[str], Any]
PRESENCE = {"1": 1, "yes": 1, "true": 1, "1.0": 1, "0": 0, "no": 0, "false": 0, "0.0": 0}
COMMENTS = ("comment", "COMMENT", "commen", "note", "")
"""The names that a mutation gives to the column of comments."""
DISEASES = {"regular": "healthy", "covid-19": "COVID-19 pneumonia"}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The sound rows of a table; none where the whole of it is unsound."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError):
        return []
    names = [name.strip() for name in header]
    if "\0" in text or any(names.count(name) > 1 for name in names if name):
        return []
    return [
        dict(zip(names, (cell.strip() for cell in row), strict=False))
        for row in rows
        if len(row) >= len(names)
        and not any(map(str.strip, row[len(names) :]))  # commas at the end are harmless
        and not any(
            len(cell.strip().splitlines()) > 1 and name not in COMMENTS
            for name, cell in zip(names, row, strict=False)
        )
    ]


def same_person(name: str) -> str:
    """A name without the differences that are none: Unicode form, blanks, and case."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def find_differences(
    reader: str, stored: dict[str, Any], row: dict[str, str], removed: list[int]
) -> list[str]:
    """Labels of a stored clip that differ from the cells of its row, each as one line.

    The grades of `removed` frames go with them.
    """
    if removed and row.get("frame_severity"):
        grades = [g for k, g in enumerate(_grades(row["frame_severity"])) if k not in removed]
        row = {**row, "frame_severity": ";".join(map(str, grades))}
    values = stored | dict.fromkeys(BIOMARKERS)
    if stored["biomarkers"] is not None:
        judged = (None if value == -1 else value for value in stored["biomarkers"])
        values |= dict(zip(BIOMARKERS, judged, strict=True))
    return [
        f"{name} is {values[name]!r}, but its cell holds {row.get(column, '')!r}"
        for name, (column, parse) in COLUMNS[reader].items()
        if not _agrees(values[name], row.get(column, ""), parse)
        # Without a cell these two come from the file.
        and (name not in ("fps", "mm_per_pixel") or row.get(column))
    ]


def _agrees(value: Any, cell: str, parse: Parser) -> bool:
    if not cell or value is None:
        return value is None and not cell
    try:
        expected = parse(cell)
    except (ValueError, KeyError):
        return False
    if isinstance(expected, float):
        return abs(value - expected) <= 1e-5 * abs(expected)
    return bool(expected == value)


def _number(text: str) -> float:
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text)


def _presence(text: str) -> int:
    return PRESENCE[text.lower()]


def _grades(text: str) -> list[int]:
    runs = (part.partition("x") for part in text.split(";"))
    return [int(grade) for grade, _, times in runs for _ in range(int(times or 1))]


FOLDER: dict[str, Parser] = {
    **dict.fromkeys(("probe", "zone", "domain", "disease", "mask_scheme"), str),
    **dict.fromkeys(("mm_per_pixel", "fps", "sf_ratio", "severity"), _number),
    **dict.fromkeys(("frame_severity", "raters"), _grades),
    **dict.fromkeys(BIOMARKERS, _presence),
}
COLUMNS: dict[str, dict[str, tuple[str, Parser]]] = {
    "folder": {name: (name, parse) for name, parse in FOLDER.items()},
    "covid_blues": {
        "severity": ("Severity Score", _number),
        "A-lines: none": ("A-lines", lambda text: 1 - _presence(text)),
        "B-lines: none": ("B-lines", lambda text: 1 - _presence(text)),
    },
    "pocovid": {
        "severity": ("Lung Severity Score", _number),
        "probe": ("Probe", str.lower),
        "zone": ("Area according to DEGUM", lambda text: f"DEGUM {_number(text):g}"),
        "disease": ("Label", lambda text: DISEASES.get(text.lower(), "other lung disease")),
    },
}
"""Reader -> column of the store -> column of its table and what a cell means."""
