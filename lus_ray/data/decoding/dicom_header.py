"""The DICOM header elements that describe pixels, and none that describe the patient.

Source    DICOM PS3.3: C.7.6.3 image pixel, C.7.6.5 cine.
Only the elements in `READ` are read: nothing that names a person or study can reach a note, a log
or an error. Errors quote numbers and known words, never other text. `dicom_study` reads what is
known about the examination.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from lus_ray.data.decoding import dicom_grey, dicom_syntax
from lus_ray.data.decoding.dicom_region import read_region
from lus_ray.data.decoding.dicom_syntax import JPEG, JPEG_2000, NATIVE
from lus_ray.data.decoding.file_types import MAX_FPS
from lus_ray.errors import DecodeError

ELEMENTS = """
    SOPClassUID Modality SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    BurnedInAnnotation FrameTime FrameTimeVector CineRate RecommendedDisplayFrameRate
    SequenceOfUltrasoundRegions InConcatenationNumber InConcatenationTotalNumber
"""
READ = ELEMENTS.split() + dicom_grey.ELEMENTS
PALETTE = "PALETTE COLOR"
GREYS = ("MONOCHROME1", "MONOCHROME2", PALETTE)
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
ALLOWED = {PALETTE: (*NATIVE, uid.RLELossless, uid.JPEG2000Lossless)} | dict.fromkeys(
    ("YBR_ICT", "YBR_RCT"), (*JPEG, *JPEG_2000)
)
"""Transfer syntaxes: lossy codes of a palette are no colours. JPEGs determine their own colours."""
REFUSED_COLOURS = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK")


@dataclass(frozen=True)
class DicomHeader:
    """Everything needed to decode the pixels.

    `pixels_at` and `pixels_length`: place of the pixel data and its bytes, None if encapsulated;
    `swapped`: 8-bit samples lie in big-endian words; `low_bit`: the lowest stored bit of a sample;
    `grey`: the grey of every stored code, None for colours; `windowed`: it comes from a window, a
    VOI LUT or a palette, and not from the stored bits alone. `region`: first row and column of the
    ultrasound region and those after its last, or None where the file does not name exactly one;
    `mm_per_pixel` of the coded pixels; `burned_in`: the file declares text in its pixels.
    """

    syntax: uid.UID
    pixels_at: int
    pixels_length: int | None
    swapped: bool
    photometric: str
    planar: bool
    num_frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    low_bit: int
    grey: UInt8[np.ndarray, "codes"] | None
    windowed: bool
    fps: float | None
    region: tuple[int, int, int, int] | None
    mm_per_pixel: float | None
    burned_in: bool
    notes: tuple[str, ...]


def read_header(file: BinaryIO) -> DicomHeader:
    """Read the header of an open file, with or without the preamble.

    Raises:
        DecodeError: the header is damaged, or its kind of pixels is not supported.
    """
    syntax = dicom_syntax.read_syntax(file)
    try:
        file.seek(0)
        elements = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(READ))
        syntax = syntax or dicom_syntax.guess_syntax(elements)
        pixels_at, pixels_length, swapped = dicom_syntax.find_pixels(file, elements, syntax)
        notes: list[str] = []
        if str(elements.get("Modality", "US")) not in ("US", "IVUS"):
            notes.append("its header does not call it ultrasound")
        rows, columns = _positive_int(elements, "Rows"), _positive_int(elements, "Columns")
        photometric = _read_photometric(elements, syntax, columns)
        allocated, stored, low_bit = _read_bits(elements, syntax)
        grey, windowed = _read_grey(elements, photometric, stored, syntax, notes)
        num_frames = _read_num_frames(elements, notes)
        region, mm_per_pixel = read_region(elements, rows, columns, notes)
        return DicomHeader(
            syntax=syntax,
            pixels_at=pixels_at,
            pixels_length=pixels_length,
            swapped=swapped and allocated == 8,
            photometric=photometric,
            planar=bool(elements.get("PlanarConfiguration")),
            num_frames=num_frames,
            rows=rows,
            columns=columns,
            bits_allocated=allocated,
            bits_stored=stored,
            low_bit=low_bit,
            grey=grey,
            windowed=windowed,
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


def _read_num_frames(elements: Dataset, notes: list[str]) -> int:
    """1 where the count is missing; a missing element is usual in a single image."""
    if "NumberOfFrames" in elements and elements["NumberOfFrames"].value in (None, "", 0):
        notes.append("its header gives no number of frames; read as one")
        return 1
    return _positive_int(elements, "NumberOfFrames", default=1)


def _read_photometric(elements: Dataset, syntax: uid.UID, columns: int) -> str:
    photometric = str(elements.get("PhotometricInterpretation", "")).strip()
    samples = _positive_int(elements, "SamplesPerPixel", default=1)
    known = photometric in (*GREYS, *COLOURS)
    if not known or samples != (1 if photometric in GREYS else 3):
        name = photometric if known or photometric in REFUSED_COLOURS else "an unknown one"
        raise DecodeError(
            f"its colours are {name} with {samples} samples a pixel; export it grey or as RGB"
        )
    if photometric in ("YBR_ICT", "YBR_RCT", PALETTE) and syntax not in ALLOWED[photometric]:
        raise DecodeError(f"{photometric} cannot be stored as {syntax.name}; export it as RGB")
    planar = bool(elements.get("PlanarConfiguration"))
    if photometric == "YBR_FULL_422" and syntax in NATIVE and (columns % 2 or planar):
        raise DecodeError(
            f"YBR_FULL_422 of {columns} columns or in planes has no defined order; export RGB"
        )
    if photometric == "MONOCHROME2" and elements.get("PixelPresentation") in ("COLOR", "MIXED"):
        raise DecodeError("has a supplemental palette for part of its greys; export it as RGB")
    return photometric


def _read_bits(elements: Dataset, syntax: uid.UID) -> tuple[int, int, int]:
    """Bits allocated and stored, and the lowest stored bit."""
    allocated = _positive_int(elements, "BitsAllocated")
    stored = _positive_int(elements, "BitsStored", default=allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise DecodeError(
            f"{stored} bits in {allocated} a sample are not supported; export 8 or 16"
        )
    if stored > 8 and syntax in JPEG:
        raise DecodeError(f"a JPEG of {stored} bits is not supported; export 8 bits")
    is_exact = syntax in (*NATIVE, uid.RLELossless) and elements.get("SamplesPerPixel", 1) == 1
    if elements.get("PixelRepresentation") and not is_exact:
        raise DecodeError("its pixels are signed; export it unsigned")
    high_bit = elements.get("HighBit")
    if stored == allocated or high_bit is None or syntax in (*JPEG, *JPEG_2000):
        return allocated, 8 if syntax in JPEG else stored, 0
    if not stored <= high_bit + 1 <= allocated:
        raise DecodeError(f"{stored} bits cannot end at bit {high_bit}; export it again")
    return allocated, stored, high_bit + 1 - stored


def _read_grey(
    elements: Dataset, photometric: str, bits: int, syntax: uid.UID, notes: list[str]
) -> tuple[UInt8[np.ndarray, "codes"] | None, bool]:
    signed, big_endian = bool(elements.get("PixelRepresentation")), not syntax.is_little_endian
    if photometric in COLOURS:
        return None, False
    if photometric == PALETTE:
        if signed:
            raise DecodeError("its pixels are signed; export it unsigned")
        return dicom_grey.build_palette_table(elements, bits, big_endian=big_endian), True
    return dicom_grey.build_table(elements, bits, signed=signed, big_endian=big_endian, notes=notes)


def _positive_int(elements: Dataset, name: str, *, default: int | None = None) -> int:
    number = 0
    with suppress(Exception):  # of many kinds: text, several values
        value = elements.get(name)
        number = default or 0 if value is None else int(value)
    if number < 1:
        raise DecodeError(f"its header gives no usable {name}; export it again")
    return number


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
