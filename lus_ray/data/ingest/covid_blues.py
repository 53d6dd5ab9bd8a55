"""COVID-BLUES: clips of the six BLUE points with severity, A-lines, B-lines and clinical data.

Source    Wiedemann et al., IEEE JBHI 2025, doi 10.1109/JBHI.2025.3543686. CC BY-NC-ND 4.0.
Layout    lus_videos/patient_<id>_<L|R><1-3>[_2].mp4, severity.csv (one row a clip),
          clinical_variables.csv (one row a patient).

zone        L1-L3, R1-R3 of the file name; `_2` repeats share the zone of their point.
probe       convex (Philips Lumify, all clips). domain: "covid_blues", all clips.
severity    `Severity Score`, 0-3 of Soldati 2020. Nothing lost.
biomarkers  `A-lines`, `B-lines`. Lost: "yes" only excludes "none"; number, strength and origin are
            not judged. The free-text comments are not read.
            "B-line origin: not applicable" is 1 without B-lines and 0 with them; pleura and
            sub-pleura are judged, as 0, only where there are no B-lines.
sf_ratio    an *estimate* of `estimate_sf_ratio`. Lost: the time; one value per patient.
disease     `clin_diagn#...`. Lost: "other lung disease" does not distinguish interstitial disease,
            COPD and oedema; bacterial and other viral pneumonia are in it, with their etiology.
etiology    bacterial or viral pneumonia where ticked; "other" where both are.
sex         `pat_sex`, 0 is female and 1 is male. age: `pat_age`, years. bmi: `pat_bmi`, kg/m2.

A grade or a finding that its column does not allow refuses the table; a clinical value out of
range refuses all clips of the patient. An empty cell and the codes -99 and -96 mean "not known". A
range such as "90-92" becomes its mean, with a note.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lus_ray.clip import LEAST_BMI, MOST_AGE, MOST_BMI
from lus_ray.data.ingest.group_presence import to_biomarkers
from lus_ray.data.ingest.source_files import list_files, relative_name
from lus_ray.data.ingest.tables import label_table
from lus_ray.data.ingest.tables.label_table import TableRow
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

SOURCE = "covid_blues"
NAME = re.compile(r"patient_(?P<patient>\d+)_(?P<zone>[LR][1-3])(?:_\d+)?", re.ASCII)
CLIP_COLUMNS = ("video_file", "Severity Score", "A-lines", "B-lines")
AIR, OXYGEN, FLOW = "oxygen_saturation_without_ox", "oxygen_saturation_with_ox", "oxygen_liter"
OTHER = "other lung disease"
DIAGNOSES = {
    "clin_diagn#COVID19_pneumonia": "COVID-19 pneumonia",
    "clin_diagn#bacterial_pneumonia": OTHER,
    "clin_diagn#other_viral_pneumonia": OTHER,
    "clin_diagn#other_lung_disease": OTHER,
    "clin_diagn#healthy_lung": "healthy",
}
"""In order of precedence where several are ticked."""

ETIOLOGIES = {
    "clin_diagn#bacterial_pneumonia": "bacterial",
    "clin_diagn#other_viral_pneumonia": "viral",
}
SEXES = {0: "female", 1: "male"}
PERSON = ("pat_sex", "pat_age", "pat_bmi")

ROOM_AIR = 0.21
OXYGEN_PER_LITRE = 0.04


def clips(root: Path, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One dict per clip, sorted by patient, with `file` to be decoded.

    Raises:
        SourceError: a CSV file or a column of it is missing, a class is unknown, or a patient is
            listed twice.
    """
    _, rows = label_table.read(root / "severity.csv", CLIP_COLUMNS)
    columns = ("patient_id", *PERSON, AIR, OXYGEN, FLOW, *DIAGNOSES)
    _, patients = label_table.read(root / "clinical_variables.csv", columns)
    label_table.parse_all(rows, _check_classes)
    clinical: dict[int | None, TableRow] = {}
    for row in patients:
        first = clinical.setdefault(row.whole("patient_id", low=0, high=10**9), row)
        if first is not row:
            name = row.cells["patient_id"]
            raise SourceError(f"{row.where}: patient {name!r} is in {first.where} too; keep one")
    ledger.use(root / "severity.csv", root / "clinical_variables.csv")
    ledger.unlisted = "severity.csv has no row for this file of lus_videos"
    files: dict[str, list[Path]] = defaultdict(list)
    for path in list_files(root / "lus_videos"):
        if path.parent == root / "lus_videos":
            files[path.stem].append(path)
    listed = Counter(row.cells["video_file"] for row in rows)
    for row in sorted(rows, key=_patient_then_name):
        name = row.cells["video_file"]
        candidates = files.get(name, [])
        if reason := _check_candidates(candidates, times=listed[name]):
            ledger.skip(SOURCE, f"{row.where} ({name})", reason)
            for path in candidates:
                ledger.skip(SOURCE, relative_name(path, root), f"{row.where}: {reason}")
            continue
        try:
            yield {"file": candidates[0], **_parse_clip(name, row, clinical, ledger)}
        except SourceError as error:
            ledger.skip(SOURCE, relative_name(candidates[0], root), str(error))


def _check_classes(row: TableRow) -> None:
    row.whole("Severity Score", low=0, high=3)
    label_biomarkers(row)


def _check_candidates(candidates: list[Path], *, times: int) -> str | None:
    if times > 1:
        return "listed more than once"
    if not candidates:
        return "no such file in lus_videos"
    names = ", ".join(path.name for path in candidates)
    return f"several files in lus_videos: {names}" if len(candidates) > 1 else None


def _patient_then_name(row: TableRow) -> tuple[int, str]:
    name = row.cells["video_file"]
    return (int(match["patient"]) if (match := NAME.fullmatch(name)) else -1, name)


def _parse_clip(
    name: str, row: TableRow, clinical: dict[int | None, TableRow], ledger: Ledger
) -> dict[str, Any]:
    match = NAME.fullmatch(name)
    if match is None:
        raise SourceError(f"{row.where}: {name!r} is not patient_<id>_<L|R><1-3>; rename the file")
    patient = clinical.get(int(match["patient"]))
    if patient is None:
        ledger.note(SOURCE, name, "clinical_variables.csv lacks this patient: no clinical data")
    return {
        "clip": f"{SOURCE}/{name}",
        "patient": f"{SOURCE}/{match['patient']}",
        "zone": match["zone"],
        "probe": "convex",
        "domain": SOURCE,
        "severity": row.whole("Severity Score", low=0, high=3),
        "biomarkers": label_biomarkers(row),
        "sf_ratio": patient and estimate_sf_ratio(patient, ledger),
        **({} if patient is None else _describe_person(patient)),
        "disease": (disease := patient and choose_disease(patient, ledger)),
        "etiology": choose_etiology(patient) if patient and disease == OTHER else None,
    }


def label_biomarkers(row: TableRow) -> list[int] | None:
    """The 38 biomarkers of a row; None where neither A- nor B-lines are judged."""
    presence = {group: row.yes_no(group) for group in ("A-lines", "B-lines")}
    return None if set(presence.values()) == {None} else to_biomarkers(presence)


def estimate_sf_ratio(patient: TableRow, ledger: Ledger) -> float | None:
    """SpO2 in percent over an *estimated* inspired oxygen fraction; None where not known.

    With oxygen: FiO2 = 0.21 + 0.04 per litre a minute, at most 1.0, a bedside estimate that
    ignores mask and breathing. It has precedence, as it describes the treated state; without a
    known flow, the saturation on room air is divided by 0.21.

    Raises:
        SourceError: a saturation or a flow is out of range.
    """
    on_air = _saturation(patient, AIR, ledger)
    on_oxygen = _saturation(patient, OXYGEN, ledger)
    flow = patient.number(FLOW, low=0, high=100, codes=True)
    if on_oxygen is not None and flow is not None:
        return on_oxygen / min(1.0, ROOM_AIR + OXYGEN_PER_LITRE * flow)
    if on_oxygen is not None:
        result = "used saturation on room air" if on_air is not None else "no S/F ratio"
        _note_once(ledger, patient, f"oxygen without a known flow; {result}")
    return None if on_air is None else on_air / ROOM_AIR


def choose_disease(patient: TableRow, ledger: Ledger) -> str | None:
    """The class of the ticked diagnosis; of several, the first in `DIAGNOSES`.

    None where nothing is ticked, or "healthy" beside a disease.
    """
    ticked = [name for column, name in DIAGNOSES.items() if patient.yes_no(column)]
    if not ticked or ("healthy" in ticked and len(ticked) > 1):
        _note_once(ledger, patient, f"unclear diagnosis ({ticked or 'nothing ticked'})")
        return None
    return ticked[0]


def choose_etiology(patient: TableRow) -> str | None:
    """That of the ticked pneumonia, "other" where both are, None where none is."""
    ticked = [name for column, name in ETIOLOGIES.items() if patient.yes_no(column)]
    return "other" if len(ticked) > 1 else ticked[0] if ticked else None


def _describe_person(patient: TableRow) -> dict[str, Any]:
    sex = patient.number("pat_sex", low=0, high=1, codes=True)
    if sex not in (None, *SEXES):
        raise SourceError(f"{patient.where}: 'pat_sex' is {sex:g}; write 0, 1, or nothing")
    return {
        "sex": None if sex is None else SEXES[int(sex)],
        "age": patient.number("pat_age", low=0, high=MOST_AGE, codes=True),
        "bmi": patient.number("pat_bmi", low=LEAST_BMI, high=MOST_BMI, codes=True),
    }


def _saturation(patient: TableRow, column: str, ledger: Ledger) -> float | None:
    limits = re.fullmatch(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)", patient.cells[column])
    if limits is None:
        return patient.number(column, low=40, high=100, codes=True)
    mean = (float(limits[1]) + float(limits[2])) / 2
    _note_once(ledger, patient, f"{column} {patient.cells[column]!r} counts as {mean:g}")
    cell = TableRow(patient.where, {column: str(mean)})
    return cell.number(column, low=40, high=100)


def _note_once(ledger: Ledger, patient: TableRow, reason: str) -> None:
    item = f"{patient.where} (patient {patient.cells['patient_id']})"
    if not any(entry.item == item and entry.reason == reason for entry in ledger.entries):
        ledger.note(SOURCE, item, reason)
