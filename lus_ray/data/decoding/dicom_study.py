"""What a DICOM header says about an examination: where, with what, and of whom.

Source    DICOM PS3.3: C.7.1.1 patient, C.7.2.2 patient study, C.7.5.1 equipment, C.8.5.6 image.
PatientID and InstitutionName leave this module only as digests, which are pseudonyms: whoever has a
list of the names can match them. Names, dates and all other elements are not read. Device, sex and
age go as they are into the store, which stays on this machine; empty them in the files if they must
not.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from lus_ray.clip import MOST_AGE
from lus_ray.data.decoding import dicom_syntax
from lus_ray.data.patient_names import normalize_name
from lus_ray.errors import DecodeError

READ = (
    "PatientID", "InstitutionName", "Manufacturer", "ManufacturerModelName", "TransducerType",
    "TransducerData", "PatientSex", "PatientAge",
)  # fmt: skip
ID_CHARACTERS, SITE_CHARACTERS, DEVICE_CHARACTERS = 16, 8, 64
PROBES = {
    "CURVED LINEAR": "convex", "LINEAR": "linear", "SECTOR PHASED": "phased",
    "VECTOR PHASED": "phased",
}  # fmt: skip
"""Terms of TransducerType, with blanks for underscores."""
MODEL = re.compile(r"([CLPS])\d+[-_ ]\d+", re.ASCII)
MODELS = {"C": "convex", "L": "linear", "P": "phased", "S": "phased"}
"""Names of probes in TransducerData, as C5-2 or L12-3, by their first letter."""
AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
AGES_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
SEXES = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class DicomStudy:
    """Facts of one file; None where the header has none that is understood.

    `patient`: the first `ID_CHARACTERS` of the SHA-256 of the PatientID; `site`: "site-" and the
    first `SITE_CHARACTERS` of that of the InstitutionName; `age` in years.
    """

    patient: str | None = None
    site: str | None = None
    device: str | None = None
    probe: str | None = None
    sex: str | None = None
    age: float | None = None
    notes: tuple[str, ...] = ()


def read_study(path: Path) -> DicomStudy:
    """Read the facts of a file.

    Raises:
        DecodeError: the header is damaged or not supported.
    """
    # Warnings may quote the header.
    with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
        dicom_syntax.read_syntax(file)
        try:
            file.seek(0)
            elements = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(READ))
            return _interpret(elements)
        except Exception:  # of many kinds, with messages that may quote the header
            raise DecodeError("its DICOM header is damaged; export it again") from None


def _interpret(elements: Dataset) -> DicomStudy:
    patient, site = _text(elements, "PatientID"), _text(elements, "InstitutionName")
    maker, model = _text(elements, "Manufacturer"), _text(elements, "ManufacturerModelName")
    device = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    written = _text(elements, "PatientAge")
    age = AGE.fullmatch(written)
    years = int(age[1]) / AGES_PER_YEAR[age[2]] if age else None
    is_valid = years is not None and years <= MOST_AGE
    unread = written and not is_valid
    return DicomStudy(
        patient=_hash(patient)[:ID_CHARACTERS] if patient else None,
        site=f"site-{_hash(normalize_name(site))[:SITE_CHARACTERS]}" if site else None,
        device=device[:DEVICE_CHARACTERS].strip() or None,
        probe=_find_probe(elements),
        sex=SEXES.get(_text(elements, "PatientSex").upper()),
        age=years if is_valid else None,
        notes=("its PatientAge is not written as 045Y: not read",) if unread else (),
    )


def _find_probe(elements: Dataset) -> str | None:
    kind = _text(elements, "TransducerType").upper().replace("_", " ")
    model = MODEL.match(_text(elements, "TransducerData").upper())
    return PROBES.get(kind) or (MODELS[model[1]] if model else None)


def _text(elements: Dataset, name: str) -> str:
    """The first value as one line of printable text; empty without one."""
    value = elements.get(name)
    first = next(iter(value), "") if isinstance(value, MultiValue) else value
    return normalize_name("".join(filter(str.isprintable, str(first or ""))))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
