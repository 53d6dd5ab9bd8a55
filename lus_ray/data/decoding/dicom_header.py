"""What the header of a DICOM file says about its pixels, and nothing about the patient.

Source    DICOM PS3.3: C.7.6.3 image pixel, C.7.6.5 cine, C.8.5.5 ultrasound regions.
Only the elements in `READ` are taken from the file. No name, number, date, place or UID of a
person or study is among them, so none can reach a note, a log or an error; `patient` alone reads
an identifier, and gives a digest of it. Errors quote numbers and known words, never other text.
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

READ = [
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "BurnedInAnnotation",
    "FrameTime",
    "FrameTimeVector",
    "CineRate",
    "RecommendedDisplayFrameRate",
    "SequenceOfUltrasoundRegions",
]
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
OTHERS = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEG2000)
GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

TWO_DIMENSIONAL = 1
"""Region Spatial Format of a picture in depth and width."""
TISSUE = 1
"""Region Data Type of plain echoes."""
CENTIMETRES = 3
"""Physical units of a region's axes."""
MAX_FPS = 1000.0
ID_CHARACTERS = 16
HEAD_BYTES = 132
"""Preamble and mark; the elements about the file itself follow, never deflated."""


@dataclass(frozen=True)
class Header:
    """What is needed to decode.

    `region` holds the first row and column of the ultrasound region and those after its last, or
    is None where the file does not name exactly one; `mm_per_pixel` is of the coded pixels.
    `burned_in` says that the file itself declares writing in its pixels.
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


def read(file: BinaryIO) -> Header:
    """The header of an open file, which is left where its pixel data begin.

    Raises:
        DecodeError: the header is damaged, or its pixels are of a kind that is not read.
    """
    syntax = _syntax(file)
    try:
        elements = dcmread(file, stop_before_pixels=True, specific_tags=list(READ))
        if "Rows" not in elements:
            raise DecodeError("holds no picture")
        notes: list[str] = []
        if str(elements.get("Modality", "US")) not in ("US", "IVUS"):
            notes.append("its header does not call it ultrasound")
        region, mm_per_pixel = _region(elements, notes)
        return Header(
            syntax=syntax,
            photometric=_photometric(elements),
            num_frames=_whole(elements, "NumberOfFrames", default=1),
            rows=_whole(elements, "Rows"),
            columns=_whole(elements, "Columns"),
            bits_stored=_bits(elements, syntax),
            fps=_fps(elements, notes),
            region=region,
            mm_per_pixel=mm_per_pixel,
            burned_in=str(elements.get("BurnedInAnnotation", "")).strip().upper() == "YES",
            notes=tuple(notes),
        )
    except (DecodeError, MemoryError):
        raise
    except Exception:  # of many kinds, with texts that may quote the header
        raise DecodeError("its DICOM header is damaged; export it again") from None


def patient(path: Path) -> str | None:
    """The first half of the SHA-256 of the PatientID, or None without one.

    A pseudonym, not anonymity: whoever has a list of the identifiers can find them again.

    Raises:
        DecodeError: the header is damaged or of a kind that is not read.
    """
    with open(path, "rb") as file:
        _syntax(file)
        try:
            elements = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            name = str(elements.get("PatientID") or "").strip()
        except Exception:
            raise DecodeError("its DICOM header is damaged; export it again") from None
    return hashlib.sha256(name.encode()).hexdigest()[:ID_CHARACTERS] if name else None


def _syntax(file: BinaryIO) -> uid.UID:
    """How the pixels are coded; `file` is left at its beginning.

    Looked at before the rest, as a deflated file would be inflated whole, however large.
    """
    try:
        file.seek(HEAD_BYTES)
        about_file = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        syntax = uid.UID(str(about_file.get("TransferSyntaxUID", "")))
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


def _photometric(elements: Dataset) -> str:
    found = str(elements.get("PhotometricInterpretation", ""))
    samples = _whole(elements, "SamplesPerPixel", default=1)
    if samples == (1 if found in GREYS else 3) and found in (*GREYS, *COLOURS):
        return found
    known = found if found in (*GREYS, *COLOURS, "PALETTE COLOR") else "an unknown one"
    raise DecodeError(
        f"its colours are {known} with {samples} samples a pixel; export it grey or as RGB"
    )


def _bits(elements: Dataset, syntax: uid.UID) -> int:
    allocated = _whole(elements, "BitsAllocated")
    stored = _whole(elements, "BitsStored", default=allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise DecodeError(f"{stored} bits in {allocated} a sample are not read; export 8 or 16")
    if stored > 8 and syntax in JPEG:
        raise DecodeError(f"a JPEG of {stored} bits is not read; export 8 bits")
    if elements.get("PixelRepresentation"):
        raise DecodeError("its pixels have a sign, as no ultrasound has; export it unsigned")
    return stored


def _whole(elements: Dataset, name: str, *, default: int | None = None) -> int:
    value = elements.get(name)
    if value is None and default is not None:
        return default
    if value is None or int(value) < 1:
        raise DecodeError(f"its header gives no usable {name}; export it again")
    return int(value)


def _fps(elements: Dataset, notes: list[str]) -> float | None:
    times = elements.get("FrameTimeVector")
    intervals = [float(ms) for ms in times[1:]] if times is not None and len(times) > 1 else []
    frame_time = float(elements.get("FrameTime") or 0)
    if not frame_time and intervals:
        frame_time = sum(intervals) / len(intervals)
    found = [
        1000 / frame_time if frame_time > 0 else 0.0,
        float(elements.get("CineRate") or 0),
        float(elements.get("RecommendedDisplayFrameRate") or 0),
    ]
    rate = next((rate for rate in found if rate), None)
    if rate is not None and not 0 < rate <= MAX_FPS:
        notes.append(f"its frame rate is {rate:g}; kept as not known")
        return None
    return rate


def _region(
    elements: Dataset, notes: list[str]
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """The one region of plain echoes and its millimetres per pixel."""
    tissue = [
        region
        for region in elements.get("SequenceOfUltrasoundRegions") or ()
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
        == (TWO_DIMENSIONAL, TISSUE)
    ]
    if len(tissue) != 1:
        count = f"{len(tissue)} ultrasound regions" if tissue else "no ultrasound region"
        notes.append(f"its header names {count}: not cropped, spacing not known")
        return None, None
    corners = ("MinY0", "MinX0", "MaxY1", "MaxX1")
    top, left, bottom, right = (int(tissue[0][f"RegionLocation{name}"].value) for name in corners)
    rows, columns = _whole(elements, "Rows"), _whole(elements, "Columns")
    box = (top, left, min(bottom + 1, rows), min(right + 1, columns))
    if not (0 <= top < box[2] and 0 <= left < box[3]):
        raise DecodeError("its ultrasound region lies outside of its picture; export it again")
    return box, _spacing(tissue[0], notes)


def _spacing(region: Any, notes: list[str]) -> float | None:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    across, down = (abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "XY")
    if units != (CENTIMETRES, CENTIMETRES) or not (0 < down < 10 and math.isfinite(across)):
        notes.append("its region gives no spacing in centimetres")
        return None
    if abs(across - down) > 0.02 * down:
        notes.append("its pixels are not square: spacing kept as not known")
        return None
    return 10 * down
