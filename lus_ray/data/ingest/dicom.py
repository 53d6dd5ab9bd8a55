"""DICOM ultrasound as exported by a scanner or an archive, with one or several frames per file.

    lus ingest dicom ROOT STORE             files below ROOT, as ROOT/<patient>/.../<file>

patient       the first folder below ROOT. For a file in ROOT itself, a digest of its PatientID,
              never the PatientID; without one, `missing_patient` applies.
group         Folders that share a PatientID share a group, with a note: it may be one person, whom
              no fold may split. Empty an ID that is a placeholder in the files.
mm_per_pixel  of the one ultrasound region, which is cropped; fps of the cine module.
site          a digest of InstitutionName, never the name.
device        Manufacturer and ManufacturerModelName, as they are.
probe         of TransducerType, or else of TransducerData where it is a name as C5-2.
sex, age      PatientSex F or M, and PatientAge in years; other entries are not read.
domain        "dicom", all clips. For labels use the `folder` reader, which reads DICOM files too.

File and folder names go unchanged into the store and the ledger: they must not identify anybody.
Only `dicom_header.READ` and `dicom_study.READ` are read of the header. A file with text beside its
fan is refused unless `allow_text`; `burned_in_text` lists what that check cannot detect. Files of
other formats are skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.data.decoding import file_types
from lus_ray.data.decoding.dicom_study import DicomStudy, read_study
from lus_ray.data.ingest.source_files import is_system_file, list_files, name_clips, relative_name
from lus_ray.data.ledger import Ledger, escape_name
from lus_ray.errors import DecodeError

SOURCE = "dicom"
COPIED = ("site", "device", "probe", "sex", "age")
DIRECTORY = "DICOMDIR"
"""A table of contents; it holds names and no images."""


def clips(root: Path, ledger: Ledger, *, allow_text: bool = False) -> Iterator[dict[str, Any]]:
    """One dict per file, sorted by patient, with `file` to be decoded."""
    files = []
    for path in list_files(root):
        if path.name == DIRECTORY:
            ledger.note(SOURCE, relative_name(path, root), "a table of contents: not read")
            continue
        try:
            with open(path, "rb") as file:
                if not file_types.is_dicom(file.fileno()):
                    reason = "not a DICOM file; use 'lus ingest folder' for other videos"
                    if not os.fstat(file.fileno()).st_size:
                        reason = "the file is empty; copy it again"
                    if not is_system_file(path):  # else noted with the rest
                        ledger.skip(SOURCE, relative_name(path, root), reason)
                    continue
            files.append((path, *_read_patient(path, root, ledger)))
        except OSError as error:
            ledger.skip(SOURCE, relative_name(path, root), f"not readable: {error.strerror}")
    groups = _group_by_id(files, ledger)
    files.sort(key=lambda file: (file[1] or "", file[0]))
    relative = [PurePosixPath(relative_name(path, root)) for path, _, _ in files]
    names = name_clips(relative, [_stem(path) for path in relative])
    for (path, patient, study), name in zip(files, names, strict=True):
        group = groups.get(study.patient, patient)
        yield {
            "file": path,
            "clip": f"{SOURCE}/{name}",
            "patient": patient and f"{SOURCE}/{patient}",
            "group": group and f"{SOURCE}/{group}",
            "domain": SOURCE,
            **{column: getattr(study, column) for column in COPIED},
            "allow_text": allow_text,
        }


def _stem(path: PurePosixPath) -> str:
    """The path without its extension; a number after a dot, as in a UID, is none."""
    known = path.suffix.lower() in file_types.DICOM.extensions
    return str(path.with_suffix("") if known else path)


def _read_patient(path: Path, root: Path, ledger: Ledger) -> tuple[str | None, DicomStudy]:
    try:
        study = read_study(path)
    except DecodeError:
        study = DicomStudy()  # the decoder reports the same damage
    for note in study.notes:
        ledger.note(SOURCE, relative_name(path, root), note)
    folder, *rest = path.relative_to(root).parts
    return (escape_name(folder) if rest else study.patient), study


def _group_by_id(
    files: list[tuple[Path, str | None, DicomStudy]], ledger: Ledger
) -> dict[str | None, str]:
    folders: dict[str, set[str]] = {}
    for _, patient, study in files:
        if patient and study.patient:
            folders.setdefault(study.patient, set()).add(patient)
    groups: dict[str | None, str] = {}
    for digest, names in folders.items():
        if len(names) > 1:
            groups[digest], *others = sorted(names)
            reason = (
                f"{', '.join(others[:3])} has the same PatientID: kept in one group; put the files "
                "of one person in one folder, and empty an ID that is a placeholder"
            )
            ledger.note(SOURCE, groups[digest], reason)
    return groups
