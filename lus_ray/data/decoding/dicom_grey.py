"""Turn the stored values of a DICOM file into 8-bit grey by one table.

Shapes: C stored codes, 2 to the number of stored bits; E entries of a lookup table.
Source    DICOM PS3.3: C.11.1 modality LUT, C.11.2 VOI LUT and window, C.7.6.3.1.5 palette.

As in a viewer, the first window applies, to 8 bits as to 16, else the VOI LUT; a note tells where
that changes the picture. Without either, the stored bits span black to white. Fractions are cut
off, as DCMTK does. A palette gives its luma. MONOCHROME1 is inverted after the table.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num, UInt8
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from lus_ray.errors import DecodeError

_PALETTE = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
ELEMENTS = [
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPresentation"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{palette}{part}" for palette in _PALETTE for part in ("Descriptor", "Data")),
    *(f"Segmented{palette}Data" for palette in _PALETTE),
]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""
MAX_BITS = 16


def build_table(
    elements: Dataset, bits: int, *, signed: bool, big_endian: bool, notes: list[str]
) -> tuple[UInt8[np.ndarray, "C"], bool]:
    """The grey of every stored code, before any inversion, and whether a window or a LUT applies.

    Raises:
        DecodeError: nothing in the header tells what is black and what is white.
    """
    codes = np.arange(2**bits)
    plain = _scale(codes, 2**bits - 1) if bits < 8 else (codes >> (bits - 8)).astype(np.uint8)
    values: Any = codes
    if signed:
        values = np.where(codes < 2 ** (bits - 1), codes, codes - 2**bits)
    slope = _read_number(elements, "RescaleSlope", 1.0)
    modality = elements.get("ModalityLUTSequence")
    if modality:
        values, top = _look_up(modality[0], values, big_endian)
        plain = _scale(values, top)
    elif slope is not None:
        values = values * slope + (_read_number(elements, "RescaleIntercept", 0.0) or 0.0)
    window = _read_window(elements, notes)
    if window:
        table = _apply_window(values, *window)
        cause = f"its window (center {window[0]:g}, width {window[1]:g})"
    elif elements.get("VOILUTSequence"):
        table = _scale(*_look_up(elements.VOILUTSequence[0], np.rint(values), big_endian))
        cause = "its VOI LUT"
    elif signed and not modality:
        raise DecodeError("its pixels are signed and it has no window; export it unsigned")
    elif slope is None or slope <= 0:
        raise DecodeError(f"its rescale slope is {slope}; export it without one")
    else:
        return plain, bool(modality)
    if not np.array_equal(table, plain):
        notes.append(f"{cause} was applied")
    return table, True


def build_palette_table(
    elements: Dataset, bits: int, *, big_endian: bool
) -> UInt8[np.ndarray, "C"]:
    """The luma of the palette's colour for every stored code.

    Raises:
        DecodeError: the palette is missing or incomplete.
    """
    if f"{_PALETTE[0]}Descriptor" not in elements:
        raise DecodeError("its palette is missing; export it grey or as RGB")
    count, first, _ = (int(value) for value in elements[f"{_PALETTE[0]}Descriptor"].value)
    count = count or 2**MAX_BITS
    if f"Segmented{_PALETTE[0]}Data" in elements:
        colours = apply_color_lut(np.arange(first, first + count), elements)[..., :3]
    else:
        tables = [
            _read_entries(elements[f"{name}Data"].value, count, big_endian) for name in _PALETTE
        ]
        colours = np.stack(tables, axis=-1)
    if colours.max(initial=0) > 255:  # otherwise 8 bits, whatever the descriptor declares
        colours = colours >> 8
    luma = to_luma(colours)
    return luma[np.clip(np.arange(2**bits) - first, 0, count - 1)]


def to_luma(colours: Num[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape"]:
    """Luma of red, green and blue of 0-255."""
    return np.rint(colours @ LUMA).astype(np.uint8)


def _read_window(elements: Dataset, notes: list[str]) -> tuple[float, float, str] | None:
    center = _read_number(elements, "WindowCenter", None)
    width = _read_number(elements, "WindowWidth", None)
    if center is None or width is None:
        return None
    function = str(elements.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DecodeError("its VOI LUT function is an unknown one; export it with a linear window")
    if width < 1 if function == "LINEAR" else width <= 0:
        notes.append(f"its window has a width of {width:g}; ignored")
        return None
    return center, width, function


def _apply_window(
    values: Num[np.ndarray, "C"], center: float, width: float, function: str
) -> UInt8[np.ndarray, "C"]:
    if function == "SIGMOID":
        steepness = np.clip(-4 * (values - center) / width, -500, 500)
        return _scale(1 / (1 + np.exp(steepness)), 1)
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return _scale((values - center) / width + 0.5, 1)


def _scale(values: Num[np.ndarray, "C"], top: float) -> UInt8[np.ndarray, "C"]:
    """0 to `top` as 0-255; the small term keeps whole numbers whole."""
    return np.floor(np.clip(values / top, 0, 1) * 255 + 1e-6).astype(np.uint8)


def _look_up(
    item: Dataset, values: Num[np.ndarray, "C"], big_endian: bool
) -> tuple[Int[np.ndarray, "C"], int]:
    """The entries of a LUT for `values`, and its largest possible entry."""
    count, first, bits = (int(value) for value in item["LUTDescriptor"].value)
    count = count or 2**MAX_BITS
    entries = _read_entries(item["LUTData"].value, count, big_endian)
    index = np.clip(values - first, 0, count - 1).astype(np.int64)
    return entries[index].astype(np.int64), 2**bits - 1


def _read_entries(data: Any, count: int, big_endian: bool) -> Num[np.ndarray, "E"]:
    """8-bit entries fill a byte or a word each; the length tells."""
    if not isinstance(data, bytes):
        entries: Any = np.atleast_1d(np.asarray(data, np.uint16))
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data, ">u2" if big_endian else "<u2")
    else:
        words = np.frombuffer(data, np.uint8)
        entries = words.reshape(-1, 2)[:, ::-1].ravel() if big_endian else words
    if len(entries) < count:
        raise DecodeError("a lookup table in its header is cut short; export it again")
    return entries[:count]


def _read_number(elements: Dataset, name: str, default: float | None) -> float | None:
    """The first value of an element."""
    value = elements.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    if value is None or value == "":
        return default
    if not math.isfinite(number := float(value)):
        raise DecodeError(f"its {name} is no finite number; export it again")
    return number
