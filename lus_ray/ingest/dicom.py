"""DICOM ultrasound as a scanner or an archive exports it, several frames in a file or one.

    lus ingest dicom ROOT STORE             files below ROOT, as ROOT/<patient>/.../<file>

patient       the first folder below ROOT. For a file that lies in ROOT itself, a digest of its
              PatientID, never the PatientID; without one, see `missing_patient`. Two folders that
              share a PatientID are noted: it may be one person, or a placeholder.
mm_per_pixel  of the one ultrasound region, which is cut out; fps of the cine module.
domain        "dicom", all clips. Nothing else is known: labels come with the `folder` reader,
              which reads DICOM files too.

Names of files and folders go into the store and the ledger as they are: name nobody in them. Of
the header only `dicom_header.READ` is read. A file with writing beside its fan is refused unless
`allow_text`; see `burned_in.py` for what that gate cannot see. Files of other formats are left out
in the ledger.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lus_ray.errors import DecodeError
from lus_ray.ingest import dicom_header, formats
from lus_ray.ledger import Ledger

SOURCE = "dicom"
DIRECTORY = "DICOMDIR"
"""A table of contents; it holds names and no pictures."""


def clips(root: Path, ledger: Ledger, *, allow_text: bool = False) -> Iterator[dict[str, Any]]:
    """One dict a file, sorted by patient, with `file` to be decoded."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != DIRECTORY]
    found = []
    for path in paths:
        with open(path, "rb") as file:
            if not formats.is_dicom(file.fileno()):
                reason = "no DICOM file; other videos go through 'lus ingest folder'"
                ledger.skip(SOURCE, _name(path, root), reason)
                continue
        found.append((path, *_patient(path, root)))
    _note_shared(found, ledger)
    names = Counter(_name(path, root) for path, _, _ in found)
    for path, patient, _ in sorted(found, key=lambda each: (each[1] or "", each[0])):
        name = _name(path, root)
        yield {
            "file": path,
            "clip": f"{SOURCE}/{name}" if names[name] == 1 else f"{SOURCE}/{name}{path.suffix}",
            "patient": patient and f"{SOURCE}/{patient}",
            "domain": SOURCE,
            "allow_text": allow_text,
        }


def _name(path: Path, root: Path) -> str:
    """The path below ROOT without the extension; a number after a dot, as in a UID, is none."""
    relative = PurePosixPath(path.relative_to(root).as_posix())
    known = relative.suffix.lower() in formats.DICOM.extensions
    return str(relative.with_suffix("") if known else relative)


def _patient(path: Path, root: Path) -> tuple[str | None, str | None]:
    """The name of the patient, and the digest of the PatientID."""
    try:
        digest = dicom_header.patient(path)
    except DecodeError:
        digest = None  # the decoder will meet the same damage and say so
    folder, *rest = path.relative_to(root).parts
    return (folder if rest else digest), digest


def _note_shared(found: list[tuple[Path, str | None, str | None]], ledger: Ledger) -> None:
    folders: dict[str, set[str]] = {}
    for _, patient, digest in found:
        if patient is not None and digest is not None:
            folders.setdefault(digest, set()).add(patient)
    for names in folders.values():
        if len(names) > 1:
            first, *others = sorted(names)
            reason = (
                f"its PatientID stands in {', '.join(others[:3])} too: put one person's files in "
                "one folder, or they may be on two sides of a fold"
            )
            ledger.note(SOURCE, first, reason)
