"""The DICOM header elements that describe pixels, and none that describe the patient.

Source    DICOM PS3.3: C.7.6.3 image pixel, C.7.6.5 cine, C.8.5.5 ultrasound regions.
Only the elements in `READ` are read: nothing that names a person or study can reach a note, a log
or an error. `hash_patient_id` alone reads an identifier and returns its digest. Errors quote
numbers and known words, never other text.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from lus_ray.errors import DecodeError

ELEMENTS = """
    Modality SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns BitsAllocated
    BitsStored PixelRepresentation BurnedInAnnotation FrameTime FrameTimeVector CineRate
    RecommendedDisplayFrameRate SequenceOfUltrasoundRegions
"""
READ = ELEMENTS.split()
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
OTHERS = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEG2000)
GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

TWO_DIMENSIONAL = 1
"""Region Spatial Format of an image in depth and width."""
TISSUE = 1
"""Region Data Type of plain echoes."""
CENTIMETRES = 3
"""Physical units of a region's axes."""
MAX_FPS = 1000.0
ID_CHARACTERS = 16
HEAD_BYTES = 132
"""Preamble and magic number; the file meta information follows, never deflated."""


@dataclass(frozen=True)
class DicomHeader:
    """Everything needed to decode the pixels.

    `region`: first row and column of the ultrasound region and those after its last, or None where
    the file does not name exactly one; `mm_per_pixel` of the coded pixels; `burned_in`: the file
    declares text in its pixels.
    """

    syntax: uid.UID
    photometric: str
    num_frames: int
    rows: int
    columns: int
    bits_stored: int
    fps: float | None
    region: tuple[int, int, int, int] | None
    mm_per_pixel: float | None
    burned_in: bool
    notes: tuple[str, ...]


def read_header(file: BinaryIO) -> DicomHeader:
    """Read the header of an open file and leave the file where its pixel data begin.

    Raises:
        DecodeError: the header is damaged, or its kind of pixels is not supported.
    """
    syntax = _read_syntax(file)
    try:
        elements = dcmread(file, stop_before_pixels=True, specific_tags=list(READ))
        if "Rows" not in elements:
            raise DecodeError("holds no image")
        notes: list[str] = []
        if str(elements.get("Modality", "US")) not in ("US", "IVUS"):
            notes.append("its header does not call it ultrasound")
        region, mm_per_pixel = _read_region(elements, notes)
        return DicomHeader(
            syntax=syntax,
            photometric=_read_photometric(elements),
            num_frames=_positive_int(elements, "NumberOfFrames", default=1),
            rows=_positive_int(elements, "Rows"),
            columns=_positive_int(elements, "Columns"),
            bits_stored=_read_bits(elements, syntax),
            fps=_read_fps(elements, notes),
            region=region,
            mm_per_pixel=mm_per_pixel,
            burned_in=str(elements.get("BurnedInAnnotation", "")).strip().upper() == "YES",
            notes=tuple(notes),
        )
    except (DecodeError, MemoryError):
        raise
    except Exception:  # of many kinds, with messages that may quote the header
        raise DecodeError("its DICOM header is damaged; export it again") from None


def hash_patient_id(path: Path) -> str | None:
    """The first `ID_CHARACTERS` of the SHA-256 of the PatientID, or None without one.

    A pseudonym, not anonymity: whoever has a list of the identifiers can match them.

    Raises:
        DecodeError: the header is damaged or not supported.
    """
    with open(path, "rb") as file:
        _read_syntax(file)
        try:
            elements = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            name = str(elements.get("PatientID") or "").strip()
        except Exception:
            raise DecodeError("its DICOM header is damaged; export it again") from None
    return hashlib.sha256(name.encode()).hexdigest()[:ID_CHARACTERS] if name else None


def _read_syntax(file: BinaryIO) -> uid.UID:
    """Checked before the rest: a deflated file would be inflated whole, however large."""
    try:
        file.seek(HEAD_BYTES)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        syntax = uid.UID(str(meta.get("TransferSyntaxUID", "")))
    except MemoryError:
        raise
    except Exception:
        raise DecodeError("its DICOM header is damaged; export it again") from None
    if syntax not in (*NATIVE, *JPEG, *OTHERS):
        name = syntax.name if syntax in uid.UID_dictionary else "an unknown transfer syntax"
        raise DecodeError(
            f"holds pixels as {name}; export it uncompressed, as JPEG Baseline or RLE"
        )
    file.seek(0)
    return syntax


def _read_photometric(elements: Dataset) -> str:
    photometric = str(elements.get("PhotometricInterpretation", ""))
    samples = _positive_int(elements, "SamplesPerPixel", default=1)
    if samples == (1 if photometric in GREYS else 3) and photometric in (*GREYS, *COLOURS):
        return photometric
    known = (*GREYS, *COLOURS, "PALETTE COLOR")
    name = photometric if photometric in known else "an unknown one"
    raise DecodeError(
        f"its colours are {name} with {samples} samples a pixel; export it grey or as RGB"
    )


def _read_bits(elements: Dataset, syntax: uid.UID) -> int:
    allocated = _positive_int(elements, "BitsAllocated")
    stored = _positive_int(elements, "BitsStored", default=allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise DecodeError(
            f"{stored} bits in {allocated} a sample are not supported; export 8 or 16"
        )
    if stored > 8 and syntax in JPEG:
        raise DecodeError(f"a JPEG of {stored} bits is not supported; export 8 bits")
    if elements.get("PixelRepresentation"):
        raise DecodeError("its pixels are signed; export it unsigned")
    return stored


def _positive_int(elements: Dataset, name: str, *, default: int | None = None) -> int:
    value = elements.get(name)
    if value is None and default is not None:
        return default
    if value is None or int(value) < 1:
        raise DecodeError(f"its header gives no usable {name}; export it again")
    return int(value)


def _read_fps(elements: Dataset, notes: list[str]) -> float | None:
    times = elements.get("FrameTimeVector")
    intervals = [float(ms) for ms in times[1:]] if times is not None and len(times) > 1 else []
    frame_time = float(elements.get("FrameTime") or 0)
    if not frame_time and intervals:
        frame_time = sum(intervals) / len(intervals)
    rate = 1000 / frame_time if frame_time > 0 else None
    for name in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = rate or float(elements.get(name) or 0) or None
    if rate is not None and not 0 < rate <= MAX_FPS:
        notes.append(f"its frame rate is {rate:g}; stored as unknown")
        return None
    return rate


def _read_region(
    elements: Dataset, notes: list[str]
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    tissue = [
        region
        for region in elements.get("SequenceOfUltrasoundRegions") or ()
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
        == (TWO_DIMENSIONAL, TISSUE)
    ]
    if len(tissue) != 1:
        count = f"{len(tissue)} ultrasound regions" if tissue else "no ultrasound region"
        notes.append(f"its header names {count}: not cropped, spacing unknown")
        return None, None
    corners = ("MinY0", "MinX0", "MaxY1", "MaxX1")
    top, left, bottom, right = (int(tissue[0][f"RegionLocation{name}"].value) for name in corners)
    rows, columns = _positive_int(elements, "Rows"), _positive_int(elements, "Columns")
    box = (top, left, min(bottom + 1, rows), min(right + 1, columns))
    if not (0 <= top < box[2] and 0 <= left < box[3]):
        raise DecodeError("its ultrasound region lies outside of its image; export it again")
    return box, _read_spacing(tissue[0], notes)


def _read_spacing(region: Any, notes: list[str]) -> float | None:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    across, down = (abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "XY")
    if units != (CENTIMETRES, CENTIMETRES) or not (0 < down < 10 and math.isfinite(across)):
        notes.append("its region gives no spacing in centimetres")
        return None
    if abs(across - down) > 0.02 * down:
        notes.append("its pixels are not square: spacing stored as unknown")
        return None
    return 10 * down
