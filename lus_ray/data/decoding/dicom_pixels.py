"""Decode an open DICOM file to grey frames, inside the decoder's fork.

Shapes: H rows, W columns, C colours.
Colour becomes luma of BT.601, as in videos. The one region of plain echoes is cropped where the
header names it. A clip that shows or declares text outside of its fan is refused unless the request
allows it. A JPEG's own markers determine its colours, as scanners label YBR as RGB. Exceptions of
the DICOM reader are never quoted, as they may contain header fields.
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

from lus_ray.data.decoding import dicom_header, file_types
from lus_ray.data.decoding.burned_in_text import Extremes, count_bright_blocks
from lus_ray.data.decoding.dicom_header import DicomHeader
from lus_ray.data.decoding.video import check_count, check_declared, shrink_frame, write_raw
from lus_ray.errors import DecodeError

ELEMENT_BYTES = 12
"""Tag, VR and length that precede encapsulated pixels."""
PLAIN_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Adobe's JPEG marker for components that are red, green and blue."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""

REMEDY = "blank it first, or allow it on purpose if it names nobody"


def write_frames(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    """Write the raw grey frames of one file to `out` and return the report.

    The request may have `allow_text` beside the fields of `video.write_frames`.

    Raises:
        DecodeError: the file is damaged, exceeds the limits, or shows text beside its fan.
    """
    file_types.detect_format(file)
    header = dicom_header.read_header(file)
    check_declared(header.rows, header.columns, header.num_frames, request)
    allow_text = request.get("allow_text", False)
    if header.burned_in and not allow_text:
        reason = f"its header says that text is burned into the pixels; {REMEDY}"
        raise DecodeError(reason, "refused")
    frames = DicomFrames(file, header, max_side=request["max_side"])
    num_frames = write_raw(frames, out, request)
    notes = list(header.notes)
    check_count(num_frames, header.num_frames, frames.damage, notes)
    _check_text(frames.extremes, header, notes, allow_text)
    scale = max(frames.shape) / max(frames.native)
    return {
        "num_frames": num_frames,
        "shape": frames.shape,
        "native": frames.native,
        "scale": scale,
        "fps": header.fps if num_frames > 1 else None,
        "mm_per_pixel": header.mm_per_pixel and header.mm_per_pixel / scale,
        "num_declared": header.num_frames,
        "format": file_types.DICOM.name,
        "notes": notes,
    }


class DicomFrames:
    """Grey frames of a file whose header was read, cropped and at most `max_side` on a side.

    After iteration `shape` is that of the frames, `extremes` are of the whole images, and `damage`
    is the reason for an early end, if any; `native` is the (height, width) of the region.
    """

    def __init__(self, file: BinaryIO, header: DicomHeader, *, max_side: int) -> None:
        self.file, self.header, self.max_side = file, header, max_side
        self.region = header.region or (0, 0, header.rows, header.columns)
        top, left, bottom, right = self.region
        self.native, self.shape = (bottom - top, right - left), (0, 0)
        self.extremes, self.damage = Extremes(), ""

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "_ _"]]:
        top, left, bottom, right = self.region
        for image in self._images():
            if self.header.photometric == "MONOCHROME1":
                image = 255 - image
            self.extremes.add(image)
            pixels = shrink_frame(image[top:bottom, left:right], self.max_side)
            self.shape = pixels.shape
            yield pixels

    def _images(self) -> Iterator[UInt8[np.ndarray, "H W"]]:
        decode = _decode_jpegs if self.header.syntax in dicom_header.JPEG else _decode_others
        with warnings.catch_warnings(action="ignore"):  # they may quote the header
            try:
                yield from decode(self.file, self.header)
            except MemoryError:
                raise
            except DecodeError as error:
                self.damage = str(error)
            except Exception:  # of many kinds, with messages that may quote the header
                self.damage = "the pixel data are damaged or end early"


def _decode_jpegs(file: BinaryIO, header: DicomHeader) -> Iterator[UInt8[np.ndarray, "H W"]]:
    file.read(ELEMENT_BYTES)
    for content in generate_frames(file, number_of_frames=header.num_frames):
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        declared = "jfif" in image.info or "adobe_transform" in image.info
        subsampled = any(layer[1:3] != (1, 1) for layer in getattr(image, "layer", ()))
        if header.photometric == "RGB" and not declared and not subsampled:
            content = content[:2] + PLAIN_RGB + content[2:]
            image = Image.open(io.BytesIO(content), formats=("JPEG",))
        if image.size != (header.columns, header.rows):
            raise DecodeError("an image is not of the size in the header")
        image.draft("L", image.size)  # the luma is in the file: no colour is computed
        yield np.asarray(image.convert("L"))


def _decode_others(file: BinaryIO, header: DicomHeader) -> Iterator[UInt8[np.ndarray, "H W"]]:
    file.seek(0)
    for pixels in iter_pixels(file):
        if header.bits_stored > 8:
            pixels = pixels >> (header.bits_stored - 8)
        pixels = np.minimum(pixels, 255).astype(np.uint8)
        if pixels.ndim == 3:
            pixels = np.rint(pixels @ LUMA).astype(np.uint8)
        yield pixels


def _check_text(extremes: Extremes, header: DicomHeader, notes: list[str], allowed: bool) -> None:
    if extremes.brightest is None or extremes.darkest is None:
        return
    if not count_bright_blocks(extremes.brightest, extremes.darkest, region=header.region):
        return
    if not allowed:
        reason = f"shows bright pixels outside of the fan, which may be text; {REMEDY}"
        raise DecodeError(reason, "refused")
    kept = "cropped" if header.region else "kept"
    notes.append(f"bright pixels outside of the fan, which may be text, were allowed; {kept}")
