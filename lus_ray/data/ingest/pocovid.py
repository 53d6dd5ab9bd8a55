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
            pneumonia are other lung disease. Lost: which pneumonia; a "regular" clip of an ill
            patient is healthy. A file under label_uncertain has no disease.
biomarkers  effusion, consolidations, B-lines, A-lines, pleural line irregularities (0/1). Lost:
            size, number and position; air bronchogram and symptoms.
fps         of the container; the column `Framerate` is rounded and not read.

Rows without a file (most were never public) and files without a row are skipped.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lus_ray.clip import PROBES
from lus_ray.data.ingest import label_table
from lus_ray.data.ingest.group_presence import to_biomarkers
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


def clips(root: Path, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One dict per file, sorted by patient; `patient` is None where the table names none.

    Raises:
        SourceError: the table or a column of it is missing, or a class is unknown.
    """
    _, rows = label_table.read(root / METADATA, COLUMNS)
    label_table.parse_all(rows, _check_classes)
    files = _find_files(root)
    for row in sorted(
        rows, key=lambda row: (row.cells["Patient ID / Name"], row.cells["Filename"])
    ):
        name = row.cells["Filename"]
        item = f"{row.where} ({name})"
        candidates = files.get((row.cells["Type"].lower(), name), [])
        if not candidates:
            ledger.skip(SOURCE, item, "no such file; it may never have been public")
            continue
        path = candidates.pop(0)
        try:
            yield {"file": path, **_parse_clip(path, row, ledger)}
        except SourceError as error:
            ledger.skip(SOURCE, item, str(error))
    for path in sorted(path for paths in files.values() for path in paths):
        ledger.skip(SOURCE, path.name, f"{METADATA} has no row for this file")


def _check_classes(row: label_table.TableRow) -> None:
    for column, allowed in (("Label", DISEASES), ("Type", FOLDERS), ("Probe", PROBES)):
        row.one_of(column, allowed, any_case=True)
    row.whole("Lung Severity Score", low=0, high=3)


def _find_files(root: Path) -> dict[tuple[str, str], list[Path]]:
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for kind, folder in FOLDERS.items():
        for path in sorted(filter(Path.is_file, (root / folder).rglob("*"))):
            files[kind, path.stem].append(path)
    return files


def _parse_clip(path: Path, row: label_table.TableRow, ledger: Ledger) -> dict[str, Any]:
    name, label = row.cells["Filename"], row.cells["Label"]
    disease = DISEASES.get(label.lower())
    if "label_uncertain" in path.parts:
        ledger.note(SOURCE, name, f"in label_uncertain: ignored its label {label!r}")
        disease = None
    patient = row.text("Patient ID / Name")
    zone = row.text("Area according to DEGUM")
    return {
        "clip": f"{SOURCE}/{name}",
        "patient": patient and f"{SOURCE}/{patient}",
        "probe": row.one_of("Probe", PROBES, any_case=True),
        "zone": zone and f"DEGUM {zone}",
        "domain": SOURCE,
        "severity": row.whole("Lung Severity Score", low=0, high=3),
        "biomarkers": label_biomarkers(row, ledger),
        "disease": disease,
    }


def label_biomarkers(row: label_table.TableRow, ledger: Ledger) -> list[int] | None:
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


def _tick(row: label_table.TableRow, column: str, ledger: Ledger) -> bool | None:
    if row.cells[column].startswith("http"):
        reason = f"{row.where}: {column!r} holds a link: not judged"
        ledger.note(SOURCE, row.cells["Filename"], reason)
        return None
    return row.yes_no(column)
