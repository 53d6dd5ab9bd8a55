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

Labels are stored as they are. A class, a grade or a biomarker that its column does not allow
refuses the table: the others may be of another scale as well. A measurement out of range refuses
its row, and so does a mask that does not fit its image. A file that is listed twice is refused with
all its rows, as none of them is certain. A column close to a known name refuses the table; any
other is skipped with a note.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.clip import BIOMARKERS, DISEASES, MASK_SCHEMES, PROBES
from lus_ray.data.ingest import label_table, mask_files
from lus_ray.data.ingest.did_you_mean import did_you_mean, find_close_columns
from lus_ray.data.ingest.source_files import name_clips, relative_name
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

SOURCE = "folder"
TEXTS = ("zone", "domain")
CLASSES = {"probe": PROBES, "disease": DISEASES, "mask_scheme": tuple(MASK_SCHEMES)}
NUMBERS = {"mm_per_pixel": (1e-6, 100.0), "fps": (1e-6, 10_000.0), "sf_ratio": (1e-6, 500.0)}
GRADES = ("severity", "frame_severity", "raters")
KNOWN = ("file", "patient", *GRADES, *TEXTS, *CLASSES, *NUMBERS, *mask_files.KINDS, *BIOMARKERS)


def clips(root: Path, ledger: Ledger, *, labels: Path | None = None) -> Iterator[dict[str, Any]]:
    """One dict per row of the CSV file `labels` (by default ROOT/labels.csv), sorted by patient.

    Raises:
        SourceError: the CSV file or a required column is missing, or a column name or a class is
            unknown.
    """
    path = Path(labels) if labels else root / "labels.csv"
    header, rows = label_table.read(path, ("file", "patient"), KNOWN)
    _check_header(path, header, rows, ledger)
    classes = label_table.parse_all(rows, partial(_parse_classes, header=header))
    annotations = mask_files.load_annotations(rows, root)
    found = [_find_file(row, root) for row in rows]
    ledger.use(path, *mask_files.list_used(rows, root))
    ledger.unlisted = f"{path.name} has no row for this file"
    listed = Counter(file.resolve() for file in found if isinstance(file, Path))
    written = zip(found, rows, strict=True)
    paths = [PurePosixPath(_name_file(file, row, root)) for file, row in written]
    names = name_clips(paths, [_stem(path) for path in paths])
    table = zip(rows, classes, found, names, strict=True)
    for row, labelled, file, name in sorted(table, key=lambda line: _patient_then_file(line[0])):
        try:
            if isinstance(file, SourceError):
                raise file
            if listed[file.resolve()] > 1:
                reason = f"file {row.cells['file']!r} is listed more than once"
                raise SourceError(f"{row.where}: {reason}")
            columns = _parse_measurements(row, header) | labelled
            columns |= mask_files.mask_columns(row, root, annotations)
            yield {"file": file, "clip": f"{SOURCE}/{name}", **columns}
        except SourceError as error:
            ledger.skip(SOURCE, _name_file(file, row, root) or row.where, str(error))


def _patient_then_file(row: label_table.TableRow) -> tuple[str, str]:
    return row.cells["patient"], row.cells["file"]


def _find_file(row: label_table.TableRow, root: Path) -> Path | SourceError:
    try:
        file = row.path("file", root)
    except SourceError as error:
        return error
    if file.is_file():
        return file
    return SourceError(f"{row.where}: no file {row.cells['file']!r} in the folder")


def _name_file(file: Path | SourceError, row: label_table.TableRow, root: Path) -> str:
    """The path below `root`, or the cell where it leads to no file."""
    return relative_name(file, root) if isinstance(file, Path) else row.cells["file"]


def _stem(file: PurePosixPath) -> str:
    return str(file.with_suffix("") if file.name else file)  # an empty cell, or a dot


def _check_header(
    path: Path, header: list[str], rows: Sequence[label_table.TableRow], ledger: Ledger
) -> None:
    unknown = [name for name in header if name not in KNOWN]
    for name in unknown:
        if close := find_close_columns(name, KNOWN, header):
            remedy = f"{did_you_mean(close)} Give it another name if it is something else"
            raise SourceError(f"{path}: column {name!r} is unknown{remedy}")
    mask_files.check_header(path, header)
    for name in unknown:
        if any(row.cells[name] for row in rows):
            ledger.note(SOURCE, path.name, f"skipped unknown column {name!r}")
            ledger.other_columns.append(name)


def _parse_classes(row: label_table.TableRow, header: list[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: row.one_of(name, allowed) for name, allowed in CLASSES.items() if name in header
    }
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


def _parse_measurements(row: label_table.TableRow, header: list[str]) -> dict[str, Any]:
    patient = row.text("patient")
    columns: dict[str, Any] = {"patient": patient and f"{SOURCE}/{patient}"}
    columns |= {name: row.text(name) for name in TEXTS if name in header}
    for name, (low, high) in NUMBERS.items():
        if name in header:
            columns[name] = row.number(name, low=low, high=high)
    return columns


def _parse_run(row: label_table.TableRow, name: str, part: str) -> list[int]:
    """Grades from `2`, or from `2x12` for twelve frames."""
    text, cross, times = (text.strip() for text in part.partition("x"))
    grade = label_table.TableRow(row.where, {name: text}).whole(name, low=0, high=3)
    is_number = times.isascii() and times.isdecimal() and len(times) < 7
    is_valid = is_number and name != "raters" if cross else True
    if grade is None or not is_valid:
        example = "1;2;1" if name == "raters" else "0;0;1, or 0x30;1x12"
        raise SourceError(f"{row.where}: {name!r} is {row.cells[name]!r}; write {example}")
    return [grade] * (int(times) if cross else 1)
