"""A folder of own videos and images, with a CSV file of labels.

    lus ingest folder ROOT --init           writes ROOT/labels.csv to be filled in
    lus ingest folder ROOT STORE            reads the labels from ROOT/labels.csv

`COLUMNS` are the columns that it knows; only `file` and `patient` are required. Labels are stored
as they are. A class, a grade or a biomarker that its column does not allow refuses the table: the
others may be of another scale as well. A measurement out of range refuses its row, and so does a
mask that does not fit its image. A file that is listed twice is refused with all its rows, as none
of them is certain. A column close to a known name refuses the table; any other is a label of one's
own where it is categorical (`own_labels`), or else skipped with a note.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.clip import (
    BIOMARKERS,
    DISEASES,
    ETIOLOGIES,
    LEAST_BMI,
    MASK_SCHEMES,
    MOST_AGE,
    MOST_BMI,
    PNEUMONIAS,
    PROBES,
)
from lus_ray.data.ingest.annotations import mask_files
from lus_ray.data.ingest.source_files import name_clips, relative_name
from lus_ray.data.ingest.tables import label_table, own_labels
from lus_ray.data.ingest.tables.did_you_mean import find_close_columns
from lus_ray.data.labels import Label
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError
from lus_ray.suggestions import did_you_mean, find_close

SOURCE = "folder"
TABLE, GUIDE = "labels.csv", "labels.txt"
COLUMNS = {
    "file": "the path of a video, image or DICOM file below the folder; required",
    "patient": "the person, by a pseudonym: no patient is both trained on and tested; required",
    "probe": ", ".join(PROBES[:-1]) + f" or {PROBES[-1]}",
    "zone": "where on the chest, in any words, as L1 or R4",
    "exam": "one examination of the patient, in any words, as its number",
    "site": "the hospital or ward, in any words or by a pseudonym",
    "device": "maker and model of the scanner, in any words",
    "sex": "female or male, or f or m",
    "age": f"in years, 0 to {MOST_AGE:g}; decimals are allowed",
    "bmi": f"body mass index in kg/m2, {LEAST_BMI:g} to {MOST_BMI:g}",
    "severity": "the grade of the clip: 0, 1, 2 or 3",
    "disease": "one of: " + "; ".join(DISEASES),
    "etiology": "of a pneumonia: "
    + ", ".join(ETIOLOGIES)
    + "; its disease is "
    + " or ".join(PNEUMONIAS),
    "sf_ratio": "oxygen saturation in percent over the inspired fraction, as 95 / 0.21 = 452",
    "raters": "one severity per rater, as 1;2;1",
    "frame_severity": "one severity per frame, as 0;0;1, or in runs, as 0x30;1x12",
    "domain": "a group of clips that were taken alike, in any words",
    "mm_per_pixel": "millimetres per pixel of the original file",
    "fps": "frames a second, where the video itself is wrong or has none",
    "mask_scheme": "classes of the masks: " + ", ".join(MASK_SCHEMES) + "; with one of the next",
    "mask": "a PNG of class ids, or a folder of them, 0.png, 1.png, ... for the frames",
    "polygons": "a LabelMe JSON file, or a folder of them, 0.json, 1.json, ...",
    "coco": "the `file_name` of the image in annotations.json, a COCO file in the folder",
}
"""The known columns and what they hold; `clip.BIOMARKERS` are columns too: 1, 0, or empty."""

TEXTS = ("zone", "domain", "site", "device", "exam")
CLASSES = {
    "probe": PROBES, "disease": DISEASES, "etiology": ETIOLOGIES,
    "mask_scheme": tuple(MASK_SCHEMES),
}  # fmt: skip
SEXES = {"female": "female", "male": "male", "f": "female", "m": "male"}
NUMBERS = {
    "mm_per_pixel": (1e-6, 100.0), "fps": (1e-6, 10_000.0), "sf_ratio": (1e-6, 500.0),
    "age": (0.0, MOST_AGE), "bmi": (LEAST_BMI, MOST_BMI),
}  # fmt: skip
KNOWN = (*COLUMNS, *BIOMARKERS)


def clips(
    root: Path, ledger: Ledger, *, labels: Path | None = None, classes: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """One dict per row of the CSV file `labels` (by default ROOT/labels.csv), sorted by patient.

    `classes` are those of own labels, each as `own_labels.parse_classes` reads it.

    Raises:
        SourceError: the CSV file or a required column is missing, or a column name or a class is
            unknown.
    """
    path = Path(labels) if labels else root / TABLE
    if labels is None and not path.exists():
        raise SourceError(f"{path}: no such file; write it with 'lus ingest folder {root} --init'")
    header, rows = label_table.read(path, ("file", "patient"), KNOWN)
    _check_header(path, header)
    ledger.labels = _find_labels(path, header, rows, classes, ledger)
    own = tuple(ledger.labels)
    labelled = label_table.parse_all(rows, partial(_parse_classes, header=header, own=own))
    annotations = mask_files.load_annotations(rows, root)
    found = [_find_file(row, root) for row in rows]
    ledger.use(path, root / GUIDE, *mask_files.list_used(rows, root))
    ledger.unlisted = f"{path.name} has no row for this file"
    listed = Counter(file.resolve() for file in found if isinstance(file, Path))
    written = zip(found, rows, strict=True)
    paths = [PurePosixPath(_name_file(file, row, root)) for file, row in written]
    names = name_clips(paths, [_stem(path) for path in paths])
    table = zip(rows, labelled, found, names, strict=True)
    for row, given, file, name in sorted(table, key=lambda line: _patient_then_file(line[0])):
        try:
            if isinstance(file, SourceError):
                raise file
            if listed[file.resolve()] > 1:
                reason = f"file {row.cells['file']!r} is listed more than once"
                raise SourceError(f"{row.where}: {reason}")
            columns = _parse_measurements(row, header) | given
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


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in KNOWN and (close := find_close_columns(name, KNOWN, header)):
            remedy = f"{did_you_mean(close)} Give it another name if it is something else"
            raise SourceError(f"{path}: column {name!r} is unknown{remedy}")
    mask_files.check_header(path, header)


def _find_labels(
    path: Path,
    header: list[str],
    rows: Sequence[label_table.TableRow],
    classes: Sequence[str],
    ledger: Ledger,
) -> dict[str, Label]:
    """The labels of one's own in the table; a note for each other column that has any text."""
    given, labels = own_labels.parse_classes(classes), dict[str, Label]()
    for name in given:
        if name in KNOWN:
            raise SourceError(f"--classes: the classes of {name!r} are fixed; name another label")
        if name not in header:
            hint = did_you_mean(find_close(name, header))
            raise SourceError(f"--classes: {path} has no column {name!r}{hint}")
    for name in header:
        if name in KNOWN or not any(row.cells[name] for row in rows):
            continue
        found = own_labels.find_label(name, rows, given.get(name))
        if isinstance(found, Label):
            labels[name] = found
        else:
            ledger.note(SOURCE, path.name, f"column {name!r} is not a label: {found}")
            ledger.other_columns.append(name)
    return labels


def _parse_classes(
    row: label_table.TableRow, header: list[str], own: Sequence[str]
) -> dict[str, Any]:
    disease = row.cells.get("disease", "")
    if "pneumonia" in disease.lower() and "covid" not in disease.lower():
        remedy = "write 'other lung disease', with its etiology, or 'COVID-19 pneumonia'"
        raise SourceError(f"{row.where}: 'disease' is {disease!r}; {remedy}")
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
    if "sex" in header:
        sex = row.one_of("sex", SEXES, any_case=True)
        columns["sex"] = sex and SEXES[sex]
    if columns.get("etiology") and columns.get("disease") not in PNEUMONIAS:
        reason = f"write the disease as well: {' or '.join(PNEUMONIAS)}"
        raise SourceError(f"{row.where}: 'etiology' is {row.cells['etiology']!r}; {reason}")
    if labels := {name: text for name in own if (text := own_labels.read_class(row, name))}:
        columns["labels"] = labels
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
