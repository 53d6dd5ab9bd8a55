"""From an open DICOM file to grey frames: what the decoder's fork does for this format.

Letters: H rows, W columns, C colours.
What is decided here: luma of BT.601 stands for colour, as in videos. The one region of plain
echoes is cut out where the header names it. A clip that shows writing outside of its fan, or
declares it, is refused unless the request allows it: see `burned_in.py`. A JPEG's own markers tell
its colours, as scanners label YBR as RGB. The exceptions of the DICOM reader are never quoted, as
they may hold what stands in the header.
"""

import io
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels

from lus_ray.data.decoding import burned_in_text, dicom_header, file_types
from lus_ray.data.decoding.video import check_count, check_size, shrink
from lus_ray.errors import DecodeError

ELEMENT_BYTES = 12
"""Tag, kind and length that precede encapsulated pixels."""
PLAIN_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""A JPEG marker by Adobe that says: the three components are red, green and blue."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""


def write_frames(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    """Write the grey frames of one file to `out`, raw, and return what is known of them.

    Beside the fields of `frames.write_frames`, the request may say `allow_text`.

    Raises:
        DecodeError: the file is damaged, exceeds the limits, or shows writing beside its fan.
    """
    file_types.known(file)
    header = dicom_header.read(file)
    _check_declared(header, request)
    allow_text = request.get("allow_text", False)
    if header.burned_in and not allow_text:
        raise DecodeError(
            f"its header says that text is burned into the pixels; {_REMEDY}", "refused"
        )
    top, left, bottom, right = header.region or (0, 0, header.rows, header.columns)
    extremes, frames = burned_in_text.Extremes(), Frames(file, header)
    num_frames, pixels = 0, np.empty((0, 0), np.uint8)
    for picture in frames:
        extremes.add(picture)
        pixels = shrink(picture[top:bottom, left:right], request["max_side"])
        num_frames += 1
        if num_frames * pixels.size > request["stored_bytes"]:
            size = request["stored_bytes"] >> 20
            raise DecodeError(
                f"needs more than {size} MiB as grey frames; cut or shrink it", "refused"
            )
        out.write(np.ascontiguousarray(pixels).data)
    notes = list(header.notes)
    check_count(num_frames, header.num_frames, frames.damage, notes)
    _check_text(extremes, header, notes, allowed=allow_text)
    scale = max(pixels.shape) / max(bottom - top, right - left)
    return {
        "num_frames": num_frames,
        "shape": pixels.shape,
        "native": (bottom - top, right - left),
        "scale": scale,
        "fps": header.fps if num_frames > 1 else None,
        "mm_per_pixel": header.mm_per_pixel and header.mm_per_pixel / scale,
        "num_declared": header.num_frames,
        "format": file_types.DICOM.name,
        "notes": notes,
    }


class Frames:
    """Grey pictures of a file whose header was read, whole; `damage` says why they end early."""

    def __init__(self, file: BinaryIO, header: dicom_header.Header) -> None:
        self.file, self.header = file, header
        self.damage = ""

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W"]]:
        pictures = _jpegs if self.header.syntax in dicom_header.JPEG else _pictures
        with warnings.catch_warnings(action="ignore"):  # they may quote the header
            try:
                yield from pictures(self.file, self.header)
            except MemoryError:
                raise
            except DecodeError as error:
                self.damage = str(error)
            except Exception:  # of many kinds, with texts that may quote the header
                self.damage = "the pixel data are damaged or end early"


def _jpegs(file: BinaryIO, header: dicom_header.Header) -> Iterator[UInt8[np.ndarray, "H W"]]:
    file.read(ELEMENT_BYTES)
    for content in generate_frames(file, number_of_frames=header.num_frames):
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        told = "jfif" in image.info or "adobe_transform" in image.info
        subsampled = any(layer[1:3] != (1, 1) for layer in getattr(image, "layer", ()))
        if header.photometric == "RGB" and not told and not subsampled:
            content = content[:2] + PLAIN_RGB + content[2:]
            image = Image.open(io.BytesIO(content), formats=("JPEG",))
        if image.size != (header.columns, header.rows):
            raise DecodeError("a picture is not of the size in the header")
        image.draft("L", image.size)  # the luma is in the file: no colour is computed
        yield _right_way(np.asarray(image.convert("L")), header)


def _pictures(file: BinaryIO, header: dicom_header.Header) -> Iterator[UInt8[np.ndarray, "H W"]]:
    file.seek(0)
    for pixels in iter_pixels(file):
        if header.bits_stored > 8:
            pixels = pixels >> (header.bits_stored - 8)
        pixels = np.minimum(pixels, 255).astype(np.uint8)
        yield _right_way(_luma(pixels) if pixels.ndim == 3 else pixels, header)


def _right_way(
    grey: UInt8[np.ndarray, "H W"], header: dicom_header.Header
) -> UInt8[np.ndarray, "H W"]:
    return 255 - grey if header.photometric == "MONOCHROME1" else grey


def _luma(colours: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W"]:
    return np.rint(colours @ LUMA).astype(np.uint8)


def _check_declared(header: dicom_header.Header, request: dict[str, Any]) -> None:
    """The limits that need no pixel to be decoded."""
    check_size(header.rows, header.columns, request)
    if header.num_frames > request["num_frames"]:
        most = request["num_frames"]
        raise DecodeError(f"declares {header.num_frames} frames; at most {most}", "refused")


_REMEDY = "blank it first, or allow it on purpose if it names nobody"


def _check_text(
    extremes: burned_in_text.Extremes,
    header: dicom_header.Header,
    notes: list[str],
    *,
    allowed: bool,
) -> None:
    if extremes.brightest is None or extremes.darkest is None:
        return
    if not burned_in_text.outside_fan(extremes.brightest, extremes.darkest, region=header.region):
        return
    if not allowed:
        raise DecodeError(
            f"shows bright pixels outside of the fan, as text has them; {_REMEDY}", "refused"
        )
    kept = "cut away with all else" if header.region else "kept"
    notes.append(f"bright pixels outside of the fan, as text has them, were allowed; {kept}")
