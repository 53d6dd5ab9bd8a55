"""A folder of own videos and images, with a CSV file of labels.

    lus ingest folder ROOT STORE            labels in ROOT/labels.csv

file              path below ROOT; required
patient           the unit of every split; required, see `missing_patient` for empty cells
probe             convex, linear or phased
zone, domain      any text
mm_per_pixel      of the original file, before shrinking
fps               overrides the container's
severity          0-3
frame_severity    one grade per frame, as 0;0;1, or in runs, as 0x30;1x12
raters            one grade per rater, as 1;2;1
sf_ratio          oxygen saturation in percent over the inspired fraction
disease           one of the seven classes in `clip.DISEASES`
B-lines: none     and any other of `clip.BIOMARKERS`: 1, 0, or empty for not judged
mask_scheme       classes of the masks: dense, sparse, markers or bline; needs one of
mask              a PNG of class ids, or a folder of them, 0.png, 1.png, ... for the frames
polygons          a LabelMe JSON file, or a folder of them, 0.json, 1.json, ...
coco              `file_name` of the image in ROOT/annotations.json, a COCO file

Labels are stored as they are. A label that is not a number or out of range refuses its row, and so
does a mask that does not fit its image. A file that is listed twice is refused with all its rows,
as none of them is certain. A column close to a known name is refused as a misspelling; any other is
skipped with a note.
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.clip import BIOMARKERS, DISEASES, PROBES
from lus_ray.data.ingest import label_table, mask_files
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

SOURCE = "folder"
TEXTS = ("probe", "zone", "domain", "disease")
NUMBERS = {"mm_per_pixel": (1e-6, 100.0), "fps": (1e-6, 10_000.0), "sf_ratio": (1e-6, 500.0)}
GRADES = ("severity", "frame_severity", "raters")
KNOWN = ("file", "patient", *GRADES, *TEXTS, *NUMBERS, *mask_files.COLUMNS, *BIOMARKERS)


def clips(root: Path, ledger: Ledger, *, labels: Path | None = None) -> Iterator[dict[str, Any]]:
    """One dict per row of the CSV file `labels` (by default ROOT/labels.csv), sorted by patient.

    Raises:
        SourceError: the CSV file or a required column is missing, or a column is misspelt.
    """
    path = Path(labels) if labels else root / "labels.csv"
    header, rows = label_table.read(path, ("file", "patient"))
    _check_header(path, header, ledger)
    annotations = mask_files.load_annotations(rows, root)
    listed = Counter((root / row.cells["file"]).resolve() for row in rows)
    stems = Counter(_stem(PurePosixPath(row.cells["file"])) for row in rows)
    for row in sorted(rows, key=lambda row: (row.cells["patient"], row.cells["file"])):
        relative = PurePosixPath(row.cells["file"])
        try:
            file = row.path("file", root)
            if not file.is_file():
                raise SourceError(f"{row.where}: no file {str(relative)!r} in the folder")
            if listed[file] > 1:
                raise SourceError(f"{row.where}: file {str(relative)!r} is listed more than once")
            name = relative if stems[_stem(relative)] > 1 else _stem(relative)
            columns = _parse_labels(row, header) | mask_files.mask_columns(row, root, annotations)
            yield {"file": file, "clip": f"{SOURCE}/{name}", **columns}
        except SourceError as error:
            ledger.skip(SOURCE, row.cells["file"] or row.where, str(error))


def _stem(file: PurePosixPath) -> PurePosixPath:
    return file.with_suffix("") if file.name else file  # an empty cell, or a dot, names no file


def _check_header(path: Path, header: list[str], ledger: Ledger) -> None:
    mask_files.check_header(path, header)
    for name, times in Counter(header).items():
        if times > 1 and name:
            raise SourceError(f"{path}: {times} columns are named {name!r}; keep one")
        if name in KNOWN or not name:
            continue
        if close := difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.8):
            raise SourceError(f"{path}: column {name!r} is unknown; did you mean {close[0]!r}?")
        ledger.note(SOURCE, path.name, f"skipped unknown column {name!r}")


def _parse_labels(row: label_table.TableRow, header: list[str]) -> dict[str, Any]:
    patient = row.text("patient")
    columns: dict[str, Any] = {"patient": patient and f"{SOURCE}/{patient}"}
    columns |= {name: row.text(name) for name in TEXTS if name in header}
    for name, allowed in (("probe", PROBES), ("disease", DISEASES)):
        if columns.get(name) not in (None, *allowed):
            raise SourceError(f"{row.where}: {name!r} is {columns[name]!r}; one of {allowed}")
    for name, (low, high) in NUMBERS.items():
        if name in header:
            columns[name] = row.number(name, low=low, high=high)
    if "severity" in header:
        columns["severity"] = row.whole("severity", low=0, high=3)
    for name in ("frame_severity", "raters"):
        if name in header and row.text(name):
            runs = (_parse_run(row, name, part) for part in row.cells[name].split(";"))
            columns[name] = list(chain.from_iterable(runs))
    biomarkers = {name: row.yes_no(name) for name in BIOMARKERS if name in header}
    if any(value is not None for value in biomarkers.values()):
        values = (biomarkers.get(name) for name in BIOMARKERS)
        columns["biomarkers"] = [-1 if value is None else int(value) for value in values]
    return columns


def _parse_run(row: label_table.TableRow, name: str, part: str) -> list[int]:
    """Grades from `2`, or from `2x12` for twelve frames."""
    text, cross, times = (text.strip() for text in part.partition("x"))
    grade = label_table.TableRow(row.where, {name: text}).whole(name, low=0, high=3)
    is_valid = times.isdecimal() and len(times) < 7 and name != "raters" if cross else True
    if grade is None or not is_valid:
        example = "1;2;1" if name == "raters" else "0;0;1, or 0x30;1x12"
        raise SourceError(f"{row.where}: {name!r} is {row.cells[name]!r}; write {example}")
    return [grade] * (int(times) if cross else 1)
