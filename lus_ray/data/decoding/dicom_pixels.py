"""Decode an open DICOM file to grey frames, inside the decoder's fork.

Shapes: H rows, W columns.
Colour becomes luma of BT.601, as in videos. The one region of plain echoes is cropped where the
header names it. A clip that shows or declares text outside of its fan is refused unless the request
allows it. Exceptions of the DICOM reader are never quoted, as they may contain header fields.
"""

import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from lus_ray.data.decoding import dicom_frames, dicom_header, file_types
from lus_ray.data.decoding.burned_in_text import Extremes, count_bright_blocks
from lus_ray.data.decoding.damage import check_damaged
from lus_ray.data.decoding.dicom_grey import to_luma
from lus_ray.data.decoding.dicom_header import DicomHeader
from lus_ray.data.decoding.sample_range import MIN_GREYS, check_range
from lus_ray.data.decoding.video import check_count, check_declared, shrink_frame, write_raw
from lus_ray.errors import DecodeError

REMEDY = "blank it first, or allow it on purpose if it names nobody"


def write_frames(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    """Write the raw grey frames of one file to `out` and return the report.

    The request may have `allow_text` beside the fields of `video.write_frames`.

    Raises:
        DecodeError: the file is damaged, exceeds the limits, or shows text beside its fan.
    """
    warnings.simplefilter("ignore")  # they may quote the header
    header = dicom_header.read_header(file)
    check_declared(header.rows, header.columns, header.num_frames, request)
    allow_text = request.get("allow_text", False)
    if header.burned_in and not allow_text:
        reason = f"its header says that text is burned into the pixels; {REMEDY}"
        raise DecodeError(reason, "refused")
    frames = DicomFrames(file, header, max_side=request["max_side"])
    num_frames = write_raw(frames, out, request)
    notes = list(header.notes)
    if not num_frames:
        check_count(0, header.num_frames, frames.damage or frames.end, notes)
    check_damaged(frames.damaged, header.num_frames, frames.damage, notes)
    check_count(num_frames + len(frames.damaged), header.num_frames, frames.end, notes)
    _check_range(frames, header)
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
        "removed": frames.damaged,
        "format": file_types.DICOM.name,
        "notes": notes,
    }


class DicomFrames:
    """Grey frames of a file whose header was read, cropped and at most `max_side` on a side.

    After iteration `shape` is that of the frames; `extremes` are of the whole images, `smallest`
    and `largest` of their stored values; `damaged` are the numbers of skipped frames, `damage` the
    cause of the first, `end` that of an early end. `native` is the (height, width) of the region.
    """

    def __init__(self, file: BinaryIO, header: DicomHeader, *, max_side: int) -> None:
        self.file, self.header, self.max_side = file, header, max_side
        self.region = header.region or (0, 0, header.rows, header.columns)
        top, left, bottom, right = self.region
        self.native, self.shape = (bottom - top, right - left), (0, 0)
        self.extremes, self.damage, self.end = Extremes(), "", ""
        self.damaged: list[int] = []
        self.smallest, self.largest = 2**header.bits_stored, 0

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "_ _"]]:
        top, left, bottom, right = self.region
        for image in self._images():
            self.extremes.add(image)
            pixels = shrink_frame(image[top:bottom, left:right], self.max_side)
            self.shape = pixels.shape
            yield pixels

    def _images(self) -> Iterator[UInt8[np.ndarray, "H W"]]:
        try:
            frames = dicom_frames.read_frames(self.file, self.header)
            for number, frame in enumerate(frames):
                if isinstance(frame, DecodeError):
                    self.damaged.append(number)
                    self.damage = self.damage or str(frame)
                    continue
                self.smallest = min(self.smallest, int(frame.min()))
                self.largest = max(self.largest, int(frame.max()))
                yield self._to_grey(frame)
        except MemoryError:
            raise
        except DecodeError as error:
            if error.kind == "refused":
                raise
            self.end = str(error)
        except Exception:  # of many kinds, with messages that may quote the header
            self.end = "the pixel data are damaged or end early"

    def _to_grey(self, frame: dicom_frames.Frame) -> UInt8[np.ndarray, "H W"]:
        if self.header.grey is not None:
            grey = self.header.grey[frame]
            return 255 - grey if self.header.photometric == "MONOCHROME1" else grey
        if self.header.bits_stored > 8:
            frame = frame >> (self.header.bits_stored - 8)
        return to_luma(frame) if frame.ndim == 3 else frame.astype(np.uint8)


def _check_range(frames: DicomFrames, header: DicomHeader) -> None:
    """Refuse a clip that its own window, or 16 bits without one, would store all but uniform."""
    smallest, largest = frames.smallest, frames.largest
    if not header.windowed:
        check_range(header.bits_stored, largest, smallest)
    elif frames.extremes.brightest is not None and frames.extremes.darkest is not None:
        greys = int(frames.extremes.brightest.max()) - int(frames.extremes.darkest.min())
        if greys < min(MIN_GREYS, largest - smallest):
            reason = (
                f"its window or palette gives its values {smallest} to {largest} only {greys} of "
                "256 greys; export it with a window that fits"
            )
            raise DecodeError(reason, "refused")


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
