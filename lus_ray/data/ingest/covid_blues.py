"""COVID-BLUES: clips of the six BLUE points with severity, A-lines, B-lines and clinical data.

Source    Wiedemann et al., IEEE JBHI 2025, doi 10.1109/JBHI.2025.3543686. CC BY-NC-ND 4.0.
Layout    lus_videos/patient_<id>_<L|R><1-3>[_2].mp4, severity.csv (one row a clip),
          clinical_variables.csv (one row a patient).

zone        L1-L3, R1-R3 of the file name; `_2` repeats share the zone of their point.
probe       convex (Philips Lumify, all clips). domain: "covid_blues", all clips.
severity    `Severity Score`, 0-3 of Soldati 2020. Nothing lost.
biomarkers  `A-lines`, `B-lines`. Lost: "yes" says only that "none" is wrong; how many, how strong
            and where from is not judged. The free-text comments are not read.
            "B-line origin: not applicable" is 1 without B-lines and 0 with them; pleura and
            sub-pleura are judged, as 0, only where there are no B-lines.
sf_ratio    an *estimate*, see `sf_ratio`. Lost: the time; one value for all clips of a patient.
disease     `clin_diagn#...`, see `disease`. Lost: bacterial and other viral pneumonia join "other
            lung disease", in which interstitial disease, COPD and oedema are not told apart.

A label that is not a number, or is out of range, refuses its clip; a clinical value does so for
all clips of the patient. An empty cell and the codes -99 and -96 are "not known". A range such as
"90-92" counts as its middle, with a note.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lus_ray.clip import BIOMARKERS
from lus_ray.data.ingest import label_table
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

SOURCE = "covid_blues"
NAME = re.compile(r"patient_(?P<patient>\d+)_(?P<zone>[LR][1-3])(?:_\d+)?")
CLIP_COLUMNS = ("video_file", "Severity Score", "A-lines", "B-lines")
AIR, OXYGEN, FLOW = "oxygen_saturation_without_ox", "oxygen_saturation_with_ox", "oxygen_liter"
DIAGNOSES = {
    "clin_diagn#COVID19_pneumonia": "COVID-19 pneumonia",
    "clin_diagn#bacterial_pneumonia": "other lung disease",
    "clin_diagn#other_viral_pneumonia": "other lung disease",
    "clin_diagn#other_lung_disease": "other lung disease",
    "clin_diagn#healthy_lung": "healthy",
}
"""In order of precedence where several are ticked."""

ROOM_AIR = 0.21
OXYGEN_PER_LITRE = 0.04


def clips(root: Path, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One dict a clip, sorted by patient, with `file` to be decoded.

    Raises:
        SourceError: a CSV file or a column of it is missing.
    """
    _, rows = label_table.read(root / "severity.csv", CLIP_COLUMNS)
    columns = ("patient_id", AIR, OXYGEN, FLOW, *DIAGNOSES)
    _, patients = label_table.read(root / "clinical_variables.csv", columns)
    clinical = {row.text("patient_id"): row for row in patients}
    files: dict[str, list[Path]] = {}
    for path in sorted((root / "lus_videos").glob("*.*")):
        files.setdefault(path.stem, []).append(path)
    listed = Counter(row.cells["video_file"] for row in rows)
    for row in sorted(rows, key=_patient_then_name):
        name = row.cells["video_file"]
        found = files.pop(name, [])
        if len(found) != 1 or listed[name] > 1:
            there = ", ".join(path.name for path in found)
            reason = (
                f"several files in lus_videos: {there}" if found else "no such file in lus_videos"
            )
            reason = "listed more than once" if listed[name] > 1 else reason
            ledger.skip(SOURCE, f"{row.where} ({name})", reason)
            continue
        try:
            yield {"file": found[0], **_clip(name, row, clinical, ledger)}
        except SourceError as error:
            ledger.skip(SOURCE, name, str(error))
    for path in (path for left in files.values() for path in left):
        ledger.skip(SOURCE, path.name, "severity.csv has no row for this file")


def _patient_then_name(row: label_table.TableRow) -> tuple[int, str]:
    found = NAME.fullmatch(row.cells["video_file"])
    return (int(found["patient"]) if found else -1, row.cells["video_file"])


def _clip(
    name: str,
    row: label_table.TableRow,
    clinical: dict[str | None, label_table.TableRow],
    ledger: Ledger,
) -> dict[str, Any]:
    found = NAME.fullmatch(name)
    if found is None:
        raise SourceError(f"{row.where}: {name!r} is not patient_<id>_<L|R><1-3>; rename the file")
    patient = clinical.get(found["patient"])
    if patient is None:
        ledger.note(SOURCE, name, "clinical_variables.csv lacks this patient: no S/F, no disease")
    return {
        "clip": f"{SOURCE}/{name}",
        "patient": f"{SOURCE}/{found['patient']}",
        "zone": found["zone"],
        "probe": "convex",
        "domain": SOURCE,
        "severity": row.whole("Severity Score", low=0, high=3),
        "biomarkers": biomarkers(row.yes_no("A-lines"), row.yes_no("B-lines")),
        "sf_ratio": patient and sf_ratio(patient, ledger),
        "disease": patient and disease(patient, ledger),
    }


def biomarkers(a_lines: bool | None, b_lines: bool | None) -> list[int] | None:
    """The 38 entries that presence of A- and B-lines decides; the others are -1.

    Absent lines decide their whole group; present ones decide only that "none" is wrong.
    """
    judged: dict[str, int] = {}
    for group, present in (("A-lines", a_lines), ("B-lines", b_lines)):
        if present is False:
            judged |= {name: 0 for name in BIOMARKERS if name.startswith(group + ":")}
        if present is not None:
            judged[f"{group}: none"] = int(not present)
    if b_lines is False:
        judged |= {"B-line origin: pleura": 0, "B-line origin: sub-pleura": 0}
    if b_lines is not None:
        judged["B-line origin: not applicable"] = int(not b_lines)
    return [judged.get(name, -1) for name in BIOMARKERS] if judged else None


def sf_ratio(patient: label_table.TableRow, ledger: Ledger) -> float | None:
    """SpO2 in percent over an *estimated* inspired oxygen fraction; None where not known.

    With oxygen: FiO2 = 0.21 + 0.04 per litre a minute, at most 1.0, a bedside estimate that
    ignores the mask and the breathing. It comes first, as it holds for the treated state; without
    a known flow, the saturation on room air over 0.21 is taken.

    Raises:
        SourceError: a saturation or a flow is out of range.
    """
    on_air = _saturation(patient, AIR, ledger)
    on_oxygen = _saturation(patient, OXYGEN, ledger)
    flow = patient.number(FLOW, low=0, high=100, codes=True)
    if on_oxygen is not None and flow is not None:
        return on_oxygen / min(1.0, ROOM_AIR + OXYGEN_PER_LITRE * flow)
    if on_oxygen is not None:
        remedy = "saturation on room air taken" if on_air is not None else "no S/F ratio"
        _note_once(ledger, patient, f"oxygen without a known flow; {remedy}")
    return None if on_air is None else on_air / ROOM_AIR


def disease(patient: label_table.TableRow, ledger: Ledger) -> str | None:
    """The class of the ticked diagnosis; of several, the first in `DIAGNOSES`.

    A lung called healthy and ill at once, or nothing ticked, is None.
    """
    ticked = [name for column, name in DIAGNOSES.items() if patient.yes_no(column)]
    if not ticked or ("healthy" in ticked and len(ticked) > 1):
        _note_once(ledger, patient, f"diagnosis not clear ({ticked or 'nothing ticked'})")
        return None
    return ticked[0]


def _saturation(patient: label_table.TableRow, column: str, ledger: Ledger) -> float | None:
    limits = re.fullmatch(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)", patient.cells[column])
    if limits is None:
        return patient.number(column, low=40, high=100, codes=True)
    middle = (float(limits[1]) + float(limits[2])) / 2
    _note_once(ledger, patient, f"{column} {patient.cells[column]!r} counts as {middle:g}")
    inside = label_table.TableRow(patient.where, {column: str(middle)})
    return inside.number(column, low=40, high=100)


def _note_once(ledger: Ledger, patient: label_table.TableRow, reason: str) -> None:
    item = f"{patient.where} (patient {patient.cells['patient_id']})"
    if not any(entry.item == item and entry.reason == reason for entry in ledger.entries):
        ledger.note(SOURCE, item, reason)
