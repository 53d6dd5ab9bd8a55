"""Decode an open still-image file to grey frames with Pillow, inside the decoder's fork.

Every image of a TIFF stack or of an animated PNG or WebP is a frame. Shapes: H rows, W columns.
Colour becomes luma as in videos; transparent is black. More than 8 bits keep the upper 8, and are
refused where they use a small part of their range. Samples of 32 bits have no agreed range: values
from 0 to 1 and whole numbers up to 255 are read.
JPEG, BMP and GIF are decoded with FFmpeg, by `video`.
"""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

from lus_ray.data.decoding import file_types, still_files
from lus_ray.data.decoding.file_types import MAX_FPS, FileFormat
from lus_ray.data.decoding.orientation import Orientation
from lus_ray.data.decoding.sample_range import MIN_GREYS, check_range
from lus_ray.data.decoding.still_files import StillFile
from lus_ray.data.decoding.tiff_file import open_tiff
from lus_ray.data.decoding.video import check_size, shrink_frame, to_grey, write_raw
from lus_ray.errors import DecodeError

OPENERS: dict[FileFormat, Callable[..., StillFile]] = {
    file_types.PNG: still_files.open_png,
    file_types.TIFF: open_tiff,
    file_types.WEBP: still_files.open_webp,
    file_types.JPEG2000: still_files.open_jpeg2000,
    file_types.PNM: still_files.open_pnm,
}
WIDE = ("I;16", "I;16B", "I", "F")
"""Pillow's modes of more than 8 bits."""
COLOURS = {"LA": 1, "RGB": 3, "RGBA": 3}
"""Bands beside alpha of the modes to which Pillow reduces samples of 16 bits."""
EXIF = {
    2: Orientation(False, -1, 1),
    3: Orientation(False, -1, -1),
    4: Orientation(False, 1, -1),
    5: Orientation(True, 1, 1),
    6: Orientation(True, -1, 1),
    7: Orientation(True, -1, -1),
    8: Orientation(True, 1, -1),
}
"""Orientations by Exif's numbers; viewers take any other for 1, upright."""


def write_frames(
    file: BinaryIO, out: BinaryIO, request: dict[str, Any], kind: FileFormat, notes: list[str]
) -> dict[str, Any]:
    """Write the raw grey frames of one file to `out` and return the report.

    Raises:
        DecodeError: the file is damaged, exceeds the request's limits, or its grey is ambiguous.
    """
    Image.MAX_IMAGE_PIXELS = None  # the request has the limits
    try:
        still = OPENERS[kind](file, request, notes)
        frames = StillFrames(still, request)
        num_frames = write_raw(frames, out, request)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # of many kinds, from decoders of damaged files
        reason = f"damaged, or of a kind that is not supported ({type(error).__name__}: {error})"
        raise DecodeError(f"{reason}; copy it again, or save it as a PNG of 8 bits") from error
    if not num_frames:
        raise DecodeError("holds no image")
    return {
        "num_frames": num_frames,
        "shape": frames.shape,
        "native": frames.native,
        "scale": max(frames.shape) / max(frames.native),
        "fps": frames.fps(notes),
        "num_declared": num_frames,
        "format": kind.name,
        "notes": notes + frames.notes,
    }


class StillFrames:
    """Grey frames of a file, upright, at most `max_side` pixels on a side.

    After iteration `native` is the (height, width) of the upright image, `shape` that of the
    frames. Raises `DecodeError` at the end where the values use a small part of their range.
    """

    def __init__(self, still: StillFile, request: dict[str, Any]) -> None:
        self.still, self.request = still, request
        self.native, self.shape = (0, 0), (0, 0)
        self.smallest, self.largest = 2**still.bits, 0
        self.factor = 1.0
        self.hides = self.shows = False  # colours behind full transparency; any grey
        self.durations: list[float | None] = []
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "_ _"]]:
        orientation = EXIF.get(self.still.orientation, Orientation())
        if orientation.description:
            self.notes.append(f"{orientation.description}, as its container asks")
        if self.still.bits == 32:
            self._find_factor()
        for load in self.still.images:
            image = load()
            check_size(image.height, image.width, self.request)
            pixels = self._grey(image)
            if not self.still.is_upright:
                pixels = orientation.apply(pixels)
            native = (pixels.shape[0], pixels.shape[1])
            if self.native not in ((0, 0), native):
                raise DecodeError(
                    f"the frame size changes from {self.native} to {native} within it"
                )
            pixels = shrink_frame(pixels, self.request["max_side"])
            self.native, self.shape = native, (pixels.shape[0], pixels.shape[1])
            self.durations.append(image.info.get("duration"))
            yield pixels
        if self.hides and not self.shows:
            reason = "it is transparent throughout; save it without transparency"
            raise DecodeError(reason, "refused")
        if 8 < self.still.bits < 32 and self.durations:
            check_range(self.still.bits, self.largest, self.smallest)

    def fps(self, notes: list[str]) -> float | None:
        """From the durations in ms of the images, if they are equal."""
        first = self.durations[0]
        if len(self.durations) < 2 or not any(self.durations):
            return None
        if len(set(self.durations)) > 1 or not first or 1000 / first > MAX_FPS:
            notes.append("its images are shown for different times; frame rate stored as unknown")
            return None
        return 1000 / first

    def _find_factor(self) -> None:
        """Decide from the values of all images how 32-bit samples become grey."""
        low, high, is_whole = np.inf, -np.inf, True
        for load in self.still.images:
            values = np.asarray(load())
            low, high = np.minimum(low, values.min()), np.maximum(high, values.max())
            is_whole &= bool((values == np.rint(values)).all())
        if low >= 0 and MIN_GREYS / 255 <= high <= 1:
            self.factor = 255.0
            self.notes.append("its 32-bit values from 0 to 1 become 0 to 255")
        elif low >= 0 and is_whole and MIN_GREYS <= high <= 255:
            self.notes.append("its 32-bit values are whole numbers up to 255, kept as they are")
        elif low or high:
            raise DecodeError(
                f"its 32-bit values span {low:.6g} to {high:.6g}, and nothing says which is "
                "white; save it with 8 bits, or scale the values to 0-1",
                "refused",
            )

    def _grey(self, image: Image.Image) -> UInt8[np.ndarray, "H W"]:
        bits = self.still.bits
        if image.mode not in WIDE:
            if bits > 8 and image.mode in COLOURS:  # the lower byte is gone
                extremes: Any = image.getextrema()
                for low, high in extremes[: COLOURS[image.mode]]:
                    self._extend(low << (bits - 8), (high + 1 << (bits - 8)) - 1)
            colours, grey = convert_to_grey(image, bits)
            self.hides |= bool(colours.any()) and not grey.any()
            self.shows |= bool(grey.any())
            return grey
        values = np.asarray(image)
        if bits == 32:
            grey = np.rint(values * self.factor).astype(np.uint8)
            return 255 - grey if self.still.white_is_zero else grey
        self._extend(int(values.min()), int(values.max()))
        grey = (values >> (bits - 8)).astype(np.uint8)
        if self.still.white_is_zero:
            grey = 255 - grey
        grey[values == image.info.get("transparency", -1)] = 0
        return grey

    def _extend(self, smallest: int, largest: int) -> None:
        self.smallest, self.largest = min(self.smallest, smallest), max(self.largest, largest)


def convert_to_grey(
    image: Image.Image, bits: int
) -> tuple[UInt8[np.ndarray, "H W *C"], UInt8[np.ndarray, "H W"]]:
    """Colours and grey of an image of at most 8 bits per sample in Pillow; `bits` in the file."""
    transparent = image.info.get("transparency")
    if image.mode in ("1", "L") and isinstance(transparent, int) and bits < 8:
        image.info["transparency"] = transparent * 255 // (2**bits - 1)  # Pillow scales the pixels
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("1", "L") and transparent is None:
        grey = np.array(image.convert("L"))
        return grey, grey
    if bits == 16 and isinstance(transparent, tuple):
        raise DecodeError("16-bit colour with a transparent one; save it with 8 bits", "refused")
    layout = "rgb24" if transparent is None and "A" not in image.getbands() else "rgba"
    pixels = np.array(image.convert("RGB" if layout == "rgb24" else "RGBA"))
    return pixels[..., :3], to_grey(av.VideoFrame.from_ndarray(pixels, format=layout))
