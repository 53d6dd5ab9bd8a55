"""POCUS / POCOVID-Net: clips and still images of many hospitals and web pages.

Source    Born et al., Applied Sciences 2021, doi 10.3390/app11020672; licence per file.
Layout    pocus_videos/<convex|linear>/..., pocus_images/<convex|linear>/...,
          dataset_metadata.csv (one row per file; `Filename` is the stem).

patient     `Patient ID / Name`; rows without one are refused unless `missing_patient` is "own".
probe       `Probe`.
zone        `Area according to DEGUM` 1-6 as "DEGUM <n>"; these are not the BLUE points.
domain      "pocovid", all clips. Lost: hospital and device.
severity    `Lung Severity Score`, 0-3 where given.
disease     `Label`: regular is healthy, COVID-19 is COVID-19 pneumonia, bacterial and viral
            pneumonia are other lung disease, with their etiology. Lost: a "regular" clip of an
            ill patient is healthy. A file under label_uncertain has no disease.
sex, age    `Gender` (m, w or f) and `Age` in years. Other entries, as cells in the wrong column,
            are not read, with a note; "n/A", "nd" and an empty cell mean "not known".
biomarkers  effusion, consolidations, B-lines, A-lines, pleural line irregularities (0/1). Lost:
            size, number and position; air bronchogram and symptoms.
fps         of the container; the column `Framerate` is rounded and not read.

Rows without a file (most were never public) and files without a row are skipped. A row takes the
file of its kind and name whose folder is its probe. Where rows and files do not fit one to one, all
of them are skipped. Clips of one name are named after their folders, too.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.clip import MOST_AGE, PROBES
from lus_ray.data.ingest.group_presence import to_biomarkers
from lus_ray.data.ingest.source_files import list_files, name_clips, relative_name
from lus_ray.data.ingest.tables import label_table
from lus_ray.data.ingest.tables.label_table import TableRow
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

SOURCE = "pocovid"
METADATA = "dataset_metadata.csv"
FOLDERS = {"video": "pocus_videos", "image": "pocus_images"}
DISEASES = {
    "regular": "healthy",
    "covid-19": "COVID-19 pneumonia",
    "bacterial pneumonia": "other lung disease",
    "viral pneumonia": "other lung disease",
}
ETIOLOGIES = {"bacterial pneumonia": "bacterial", "viral pneumonia": "viral"}
SEXES = {"m": "male", "w": "female", "f": "female"}
PERSON = ("Gender", "Age")
"""Columns that the table may lack."""
NOT_KNOWN = ("", "n/a", "nd")
GROUPS = {
    "Effusion": ("effusion",),
    "Consolidations": ("consolidation",),
    "B-lines": ("B-lines",),
    "A-lines": ("A-lines",),
    "Pleural line irregularities": ("pleural indent", "pleural break"),
}
"""Biomarker groups of a 0/1 column."""
COLUMNS = ("Filename", "Label", "Lung Severity Score", "Type", "Probe", "Patient ID / Name",
           "Area according to DEGUM", "Air bronchogram", "Healthy", *GROUPS)  # fmt: skip

REMEDY = f"mend {METADATA}, or rename the file and its row"
Key = tuple[str, str]
"""Type and file name without extension."""


def clips(root: Path, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One dict per file, sorted by patient; `patient` is None where the table names none.

    Raises:
        SourceError: the table or a column of it is missing, or a class is unknown.
    """
    _, rows = label_table.read(root / METADATA, COLUMNS, PERSON)
    label_table.parse_all(rows, _check_classes)
    ledger.use(root / METADATA)
    ledger.unlisted = f"{METADATA} has no row for this file"
    rows = sorted(rows, key=lambda row: (row.cells["Patient ID / Name"], row.cells["Filename"]))
    files = _find_files(root)
    matches = _match_files(rows, files, root, ledger)
    matched = {path for _, path in matches}
    named = {_key(row) for row in rows}
    for path in (path for key in named for path in files.get(key, ()) if path not in matched):
        reason = f"several rows or files have its name, or its row another 'Probe'; {REMEDY}"
        ledger.skip(SOURCE, relative_name(path, root), reason)
    paths = [PurePosixPath(relative_name(path, root)) for _, path in matches]
    names = name_clips([path.with_suffix("") for path in paths], [path.stem for path in paths])
    for (row, path), name in zip(matches, names, strict=True):
        try:
            yield {"file": path, "clip": f"{SOURCE}/{name}", **_parse_labels(path, row, ledger)}
        except SourceError as error:
            ledger.skip(SOURCE, relative_name(path, root), str(error))


def _check_classes(row: TableRow) -> None:
    for column, allowed in (("Label", DISEASES), ("Type", FOLDERS), ("Probe", PROBES)):
        row.one_of(column, allowed, any_case=True)
    row.whole("Lung Severity Score", low=0, high=3)


def _find_files(root: Path) -> dict[Key, list[Path]]:
    files: dict[Key, list[Path]] = defaultdict(list)
    for kind, folder in FOLDERS.items():
        if (root / folder).is_dir():
            for path in list_files(root / folder):
                files[kind, path.stem].append(path)
    return files


def _match_files(
    rows: Sequence[TableRow], files: Mapping[Key, Sequence[Path]], root: Path, ledger: Ledger
) -> list[tuple[TableRow, Path]]:
    """Rows and files that fit each other and nothing else; the other rows go to the ledger."""
    of_file: dict[Path, list[TableRow]] = defaultdict(list)
    of_row: list[list[Path]] = []
    for row in rows:
        same = files.get(_key(row), ())
        of_row.append([path for path in same if _has_probe(path.relative_to(root), row)])
        for path in of_row[-1]:
            of_file[path].append(row)
    matches = []
    for row, paths in zip(rows, of_row, strict=True):
        if len(paths) == 1 and len(of_file[paths[0]]) == 1:
            matches.append((row, paths[0]))
        else:
            reason = "no such file; it may never have been public"
            if paths:
                reason = f"several rows or files have this name and probe; {REMEDY}"
            elif files.get(_key(row)):
                reason = f"'Probe' is {row.cells['Probe']!r}, but no such file lies there; {REMEDY}"
            ledger.skip(SOURCE, f"{row.where} ({row.cells['Filename']})", reason)
    return matches


def _key(row: TableRow) -> Key:
    return row.cells["Type"].lower(), row.cells["Filename"]


def _has_probe(path: Path, row: TableRow) -> bool:
    """Whether the folder of a file is that of the row's probe, where both are known."""
    folders = {part.lower() for part in path.parts[:-1]} & set(PROBES)
    return not folders or row.cells["Probe"].lower() in ("", *folders)


def _parse_labels(path: Path, row: TableRow, ledger: Ledger) -> dict[str, Any]:
    name, label = row.cells["Filename"], row.cells["Label"]
    disease, etiology = DISEASES.get(label.lower()), ETIOLOGIES.get(label.lower())
    if "label_uncertain" in path.parts:
        ledger.note(SOURCE, name, f"in label_uncertain: ignored its label {label!r}")
        disease = etiology = None
    patient = row.text("Patient ID / Name")
    zone = row.whole("Area according to DEGUM", low=1, high=6)
    return {
        "patient": patient and f"{SOURCE}/{patient}",
        "probe": row.one_of("Probe", PROBES, any_case=True),
        "zone": zone and f"DEGUM {zone}",
        "domain": SOURCE,
        "severity": row.whole("Lung Severity Score", low=0, high=3),
        "biomarkers": label_biomarkers(row, ledger),
        "disease": disease,
        "etiology": etiology,
        "sex": _read_sex(row, ledger),
        "age": _read_age(row, ledger),
    }


def _read_sex(row: TableRow, ledger: Ledger) -> str | None:
    text = row.cells.get("Gender", "").lower()
    if text not in (*SEXES, *NOT_KNOWN):
        ledger.note(SOURCE, row.cells["Filename"], f"{row.where}: 'Gender' is {text!r}: not read")
    return SEXES.get(text)


def _read_age(row: TableRow, ledger: Ledger) -> float | None:
    text = row.cells.get("Age", "")
    if text.lower() in NOT_KNOWN:
        return None
    try:
        return row.number("Age", low=0, high=MOST_AGE)
    except SourceError:
        ledger.note(SOURCE, row.cells["Filename"], f"{row.where}: 'Age' is {text!r}: not read")
        return None


def label_biomarkers(row: TableRow, ledger: Ledger) -> list[int] | None:
    """The 38 biomarkers as far as the 0/1 columns decide them; the others are -1.

    1 excludes "none" of its group. 0 decides "none" and every level of the group, but only in rows
    where some column is 1: a row of zeros, with "Healthy" 0 as well, was never filled in. A-lines 0
    in a healthy lung is ignored, as healthy lungs show A-lines and most of these rows do not tick
    them. Irregularities 1 may be an indent or a break and decides neither.

    Raises:
        SourceError: a cell is neither 0, 1, empty nor a link.
    """
    columns = (*GROUPS, "Air bronchogram", "Healthy")
    ticks = {column: _tick(row, column, ledger) for column in columns}
    if not any(ticks.values()):
        return None
    if ticks["Healthy"] and ticks["A-lines"] is False:
        ticks["A-lines"] = None
    if ticks["Pleural line irregularities"]:
        ticks["Pleural line irregularities"] = None
    return to_biomarkers(
        {group: ticks[column] for column, groups in GROUPS.items() for group in groups}
    )


def _tick(row: TableRow, column: str, ledger: Ledger) -> bool | None:
    if row.cells[column].startswith("http"):
        reason = f"{row.where}: {column!r} holds a link: not judged"
        ledger.note(SOURCE, row.cells["Filename"], reason)
        return None
    return row.yes_no(column)
