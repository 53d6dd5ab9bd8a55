"""DICOM ultrasound as a scanner or an archive exports it, several frames in a file or one.

    lus ingest dicom ROOT STORE             files below ROOT, as ROOT/<patient>/.../<file>

patient       the first folder below ROOT. For a file that lies in ROOT itself, a digest of its
              PatientID, never the PatientID; without one, see `missing_patient`.
group         Folders that share a PatientID share a group, with a note: it may be one person, and
              no fold may part those. An ID that is a placeholder is to be emptied in the files.
mm_per_pixel  of the one ultrasound region, which is cut out; fps of the cine module.
domain        "dicom", all clips. Nothing else is known: labels come with the `folder` reader,
              which reads DICOM files too.

Names of files and folders go into the store and the ledger as they are: name nobody in them. Of
the header only `dicom_header.READ` is read. A file with writing beside its fan is refused unless
`allow_text`; see `burned_in.py` for what that gate cannot see. Files of other formats are left out
in the ledger.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.data.decoding import dicom_header, file_types
from lus_ray.data.ledger import Ledger
from lus_ray.errors import DecodeError

SOURCE = "dicom"
DIRECTORY = "DICOMDIR"
"""A table of contents; it holds names and no pictures."""


def clips(root: Path, ledger: Ledger, *, allow_text: bool = False) -> Iterator[dict[str, Any]]:
    """One dict a file, sorted by patient, with `file` to be decoded."""
    found = []
    for path in _files(root, ledger):
        try:
            with open(path, "rb") as file:
                if not file_types.is_dicom(file.fileno()):
                    reason = "no DICOM file; other videos go through 'lus ingest folder'"
                    ledger.skip(SOURCE, _name(path, root), reason)
                    continue
            found.append((path, *_patient(path, root)))
        except OSError as error:
            ledger.skip(SOURCE, _name(path, root), f"not readable: {error.strerror}")
    first_of = _sharing(found, ledger)
    names = Counter(_name(path, root) for path, _, _ in found)
    for path, patient, digest in sorted(found, key=lambda each: (each[1] or "", each[0])):
        name = _name(path, root)
        group = first_of.get(digest, patient)
        yield {
            "file": path,
            "clip": f"{SOURCE}/{name}" if names[name] == 1 else f"{SOURCE}/{name}{path.suffix}",
            "patient": patient and f"{SOURCE}/{patient}",
            "group": group and f"{SOURCE}/{group}",
            "domain": SOURCE,
            "allow_text": allow_text,
        }


def _files(root: Path, ledger: Ledger) -> list[Path]:
    """All files below ROOT in order; a folder that cannot be read stands in the ledger."""

    def skip(error: OSError) -> None:
        ledger.skip(SOURCE, _name(Path(error.filename), root), f"not readable: {error.strerror}")

    paths = (Path(at, name) for at, _, names in os.walk(root, onerror=skip) for name in names)
    return sorted(path for path in paths if path.is_file() and path.name != DIRECTORY)


def _name(path: Path, root: Path) -> str:
    """The path below ROOT without the extension; a number after a dot, as in a UID, is none."""
    relative = PurePosixPath(path.relative_to(root).as_posix())
    known = relative.suffix.lower() in file_types.DICOM.extensions
    return str(relative.with_suffix("") if known else relative)


def _patient(path: Path, root: Path) -> tuple[str | None, str | None]:
    """The name of the patient, and the digest of the PatientID."""
    try:
        digest = dicom_header.hash_patient_id(path)
    except DecodeError:
        digest = None  # the decoder will meet the same damage and say so
    folder, *rest = path.relative_to(root).parts
    return (folder if rest else digest), digest


def _sharing(
    found: list[tuple[Path, str | None, str | None]], ledger: Ledger
) -> dict[str | None, str]:
    """By the digest of a PatientID that several folders share, the first of them."""
    folders: dict[str, set[str]] = {}
    for _, patient, digest in found:
        if patient is not None and digest is not None:
            folders.setdefault(digest, set()).add(patient)
    first_of: dict[str | None, str] = {}
    for digest, names in folders.items():
        if len(names) > 1:
            first_of[digest], *others = sorted(names)
            reason = (
                f"its PatientID stands in {', '.join(others[:3])} too: no fold parts them; put one "
                "person's files in one folder, and empty an ID that is a placeholder"
            )
            ledger.note(SOURCE, first_of[digest], reason)
    return first_of
