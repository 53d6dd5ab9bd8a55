"""Open PNG, WebP, JPEG 2000 and PNM files with Pillow, and check what Pillow does not.

WebP, JPEG 2000 and PNM have no checksums: overwritten bytes within their pixel data are not
noticed. A PNG has one for each chunk.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import av
from PIL import Image, Jpeg2KImagePlugin, PngImagePlugin, PpmImagePlugin, WebPImagePlugin
from PIL.ExifTags import Base

from lus_ray.data.decoding.video import check_declared
from lus_ray.errors import DecodeError

PNG_MARK, CHUNK_HEAD_BYTES = b"\x89PNG\r\n\x1a\n", 8
CODESTREAM = b"\xff\x4f\xff\x51"
"""SOC and SIZ, the first markers of a JPEG 2000 image."""
CODESTREAM_END = b"\xff\xd9"
DEPTH_OFFSET = 42
"""Of the byte that holds the bits per sample less one, from the start of an image."""
PNM_HEAD_BYTES = 4096


@dataclass(frozen=True)
class StillFile:
    """An open file: functions that decode its images, in the order of the clip.

    `bits` per stored sample; `white_is_zero` where Pillow does not invert samples of more than 8
    bits; `orientation` is Exif's, which Pillow applies itself where `is_upright`.
    """

    images: Sequence[Callable[[], Image.Image]]
    bits: int = 8
    white_is_zero: bool = False
    orientation: int = 1
    is_upright: bool = False


def load_page(image: Any, number: int) -> Image.Image:
    image.seek(number)
    image.load()
    return image


def open_png(file: BinaryIO, request: dict[str, Any], notes: list[str]) -> StillFile:
    """A PNG with the images of its animation; a default image beside them is skipped."""
    depth, durations = _check_chunks(file)
    image = PngImagePlugin.PngImageFile(file)
    num_images = image.n_frames - bool(image.default_image)
    if num_images != max(1, len(durations)):
        reason = f"declares {num_images} images and holds {len(durations)}; export it again"
        raise DecodeError(reason)
    check_declared(image.height, image.width, num_images, request)
    if image.default_image:
        notes.append("skipped the image for viewers that do not show animations")
    orientation = image.getexif().get(Base.Orientation, 1)
    images = [partial(load_page, image, 0)]
    if image.is_animated:
        composed = _compose_png(file)
        images = [partial(_take, composed, duration) for duration in durations]
    return StillFile(images, depth, orientation=orientation)


def _check_chunks(file: BinaryIO) -> tuple[int, list[float]]:
    """Check every chunk of a PNG; bits per sample, and durations in ms of its animation."""
    file.seek(len(PNG_MARK))
    depth, durations, name = 8, [], b""
    while name != b"IEND":
        head = file.read(CHUNK_HEAD_BYTES)
        length, name = int.from_bytes(head[:4]), head[4:]
        content = file.read(length + 4)
        if len(head) < CHUNK_HEAD_BYTES or len(content) < length + 4:
            raise DecodeError("truncated: it ends within a chunk; copy it again")
        if zlib.crc32(content[:-4], zlib.crc32(name)) != int.from_bytes(content[-4:]):
            raise DecodeError(f"damaged: the checksum of chunk {name!r} is wrong; copy it again")
        if name == b"IHDR":
            depth = content[8]
        elif name == b"fcTL":
            numerator, denominator = struct.unpack_from(">HH", content, 20)
            durations.append(1000 * numerator / (denominator or 100))
    _check_single(1 + file.read().count(PNG_MARK))
    file.seek(0)
    return depth, durations


def _check_single(num_images: int) -> None:
    if num_images > 1:
        raise DecodeError(f"holds {num_images} images; save one per file", "refused")


def _compose_png(file: BinaryIO) -> Iterator[Image.Image]:
    """The images of an animation, by FFmpeg: Pillow blends half-transparent images wrongly."""
    file.seek(0)
    with av.open(file, format="apng") as container:
        for frame in container.decode(video=0):
            yield Image.fromarray(frame.to_ndarray(format="rgba"))


def _take(images: Iterator[Image.Image], duration: float) -> Image.Image:
    if (image := next(images, None)) is None:
        raise DecodeError("damaged: an image of its animation is missing; copy it again")
    image.info["duration"] = duration
    return image


def open_webp(file: BinaryIO, request: dict[str, Any], notes: list[str]) -> StillFile:
    """A WebP with the images of its animation, composed."""
    declared = 8 + int.from_bytes(file.read(8)[4:], "little")
    size = file.seek(0, os.SEEK_END)
    if size < declared:
        raise DecodeError(f"truncated: {size} of {declared} bytes; copy it again")
    file.seek(declared)
    _check_single(1 + file.read().count(b"WEBPVP8"))
    file.seek(0)
    image = WebPImagePlugin.WebPImageFile(file)
    check_declared(image.height, image.width, image.n_frames, request)
    images = [partial(load_page, image, page) for page in range(image.n_frames)]
    return StillFile(images, orientation=image.getexif().get(Base.Orientation, 1))


def open_jpeg2000(file: BinaryIO, request: dict[str, Any], notes: list[str]) -> StillFile:
    """A JPEG 2000 file of one image."""
    content = file.read()
    start = content.find(CODESTREAM)
    _check_single(content.count(b"jp2c" + CODESTREAM))
    _check_single(1 + content.count(CODESTREAM_END + CODESTREAM))
    if start < 0 or content.rfind(CODESTREAM_END) < start:
        raise DecodeError("truncated: the end mark of JPEG 2000 is missing; copy it again")
    file.seek(0)
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(file)
    check_declared(image.height, image.width, 1, request)
    depth = (content[start + DEPTH_OFFSET] & 0x7F) + 1
    bits = 16 if depth > 8 else 8  # Pillow scales to either
    return StillFile([partial(load_page, image, 0)], bits)


def open_pnm(file: BinaryIO, request: dict[str, Any], notes: list[str]) -> StillFile:
    """A PBM, PGM, PPM or PFM file with every image in it; the plain kinds hold one."""
    content, start, bits = file.read(), 0, 8
    images: list[Any] = []
    while rest := content[start : start + PNM_HEAD_BYTES].lstrip():
        if images and not rest.startswith(b"P"):
            raise DecodeError(f"holds {len(content) - start} bytes more than its header declares")
        start += len(content[start : start + PNM_HEAD_BYTES]) - len(rest)
        image = PpmImagePlugin.PpmImageFile(io.BytesIO(rest))
        check_declared(image.height, image.width, len(images) + 1, request)
        (tile,) = image.tile
        options: Any = tile.args
        is_wide = image.mode == "I" or (tile.codec_name == "ppm" and options[-1] > 255)
        row_bytes = image.width * len(image.getbands()) * (4 if image.mode == "F" else 1 + is_wide)
        if image.mode == "1":
            row_bytes = -(-image.width // 8)
        end = start + tile.offset + image.height * row_bytes
        if tile.codec_name == "ppm_plain":
            end = len(content)
        image = PpmImagePlugin.PpmImageFile(io.BytesIO(content[start:end]))
        images.append(partial(load_page, image, 0))
        start, bits = end, max(bits, 32 if image.mode == "F" else 8 + 8 * is_wide)
    return StillFile(images, bits)
