"""Open TIFF files, also BigTIFF, with Pillow and libtiff: which pages are frames of the clip.

Pages of one size are the frames of a stack. A TIFF has no checksums: overwritten pixel data are
noticed only where a compressed stream cannot be decoded.
"""

import math
import os
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImagePalette, TiffImagePlugin
from PIL.ExifTags import Base

from lus_ray.data.decoding.still_files import StillFile
from lus_ray.data.decoding.tiff_description import count_images
from lus_ray.data.decoding.video import check_declared
from lus_ray.errors import DecodeError

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 255, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER = 262, 266
DESCRIPTION, SAMPLES, COLOR_MAP, SUBIFDS, SAMPLE_FORMAT = 270, 277, 320, 330, 339
PLANES = 284
STRIPS, TILES = (273, 279), (324, 325)
"""Tags of the offsets and of the byte counts of the pixel data."""
TAGS = frozenset(
    {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIPTION}
    | {Base.Orientation, PLANES, *STRIPS, SAMPLES, *TILES, SUBIFDS, SAMPLE_FORMAT}
)
REDUCED, MASK = 1, 4
"""Bits of SUBFILE."""
DEFLATE = (8, 32946)
UNCOMPRESSED, OLD_JPEG, WHITE_IS_ZERO, YCBCR, SIGNED, FLOAT = 1, 6, 0, 6, 2, 3

TiffImagePlugin.OPEN_INFO |= {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"MM", 1, (1,), 1, (32,), ()): ("I", "I;32N"),
}  # in big-endian order Pillow lacks two kinds

Tags = dict[int, Any]


def open_tiff(file: BinaryIO, request: dict[str, Any], notes: list[str]) -> StillFile:
    """A TIFF with the pages that are frames.

    Raises:
        DecodeError: pages differ in size or samples, the description declares other pages, samples
            are signed, or pixel data are missing.
    """
    TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own ignores byte counts and planes
    try:
        image = TiffImagePlugin.TiffImageFile(file)
    except SyntaxError as error:
        if str(error).isdigit():
            error.msg = f"TIFF compression {error} is not supported"
        raise
    pages = _read_pages(file, image, request["num_frames"])
    main = _select_pages(pages, notes)
    first = pages[main[0]]
    _check_subdirectories(file, pages, notes)
    layouts = {(_bits(pages[n]), pages[n][PHOTOMETRIC] == WHITE_IS_ZERO) for n in main}
    bits, white_is_zero = max(layouts)
    if bits > 8 and len(layouts) > 1:
        raise DecodeError(
            "its pages differ in bits per sample or in which is white; save one kind per file",
            "refused",
        )
    images: Sequence[Callable[[], Image.Image]] = [
        partial(_load_page, image, n, _is_plain(pages[n])) for n in main
    ]
    text, samples = str(first.get(DESCRIPTION, "")), first.get(SAMPLES, 1)
    num_declared = count_images(text, first[HEIGHT], first[WIDTH], samples)
    if num_declared > len(pages) == 1:
        images = _imagej_stack(file, first, num_declared) or images
    if num_declared and num_declared not in (len(images), len(pages)):
        raise DecodeError(
            f"its description declares {num_declared} images, but it holds {len(pages)}; save them "
            "again, each as a page",
            "refused",
        )
    check_declared(first[HEIGHT], first[WIDTH], len(images), request)
    if len(images) > 1:
        notes.append(f"its {len(images)} pages are the frames of the clip")
    orientation = first.get(Base.Orientation, 1)
    return StillFile(images, bits, white_is_zero, orientation, is_upright=True)


def _is_plain(tags: Tags) -> bool:
    """Whether Pillow's own reader is right; libtiff needs quadratic time for many pages."""
    size = tags[HEIGHT] * tags[WIDTH] * tags.get(SAMPLES, 1) * _bits(tags) // 8
    return (
        tags.get(COMPRESSION, 1) == tags.get(PLANES, 1) == tags.get(FILL_ORDER, 1) == 1
        and tags[PHOTOMETRIC] != YCBCR
        and _bits(tags) in (8, 16)
        and len(tags.get(STRIPS[0], ())) == 1
        and tags.get(STRIPS[1], (0,))[0] >= size
    )


def _load_page(image: Any, number: int, is_plain: bool) -> Image.Image:
    TiffImagePlugin.READ_LIBTIFF = not is_plain
    image.seek(number)
    colors = image.tag_v2.get(COLOR_MAP, ())
    if image.mode in ("P", "PA") and max(colors) < 256:  # some programs write 8 of the 16 bits
        image.palette = ImagePalette.raw("RGB;L", bytes(colors))
    if image.tile:  # libtiff has swapped the bytes
        mode, *others = image.tile[0].args
        args = (re.sub(r"(?<=;32)B?(?=[FS])", "N", mode), *others)
        image.tile = [image.tile[0]._replace(args=args)]
    image.load()
    return image


def _read_pages(file: BinaryIO, image: Any, most: int) -> list[Tags]:
    file_size = os.fstat(file.fileno()).st_size
    pages: list[Tags] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Corrupt EXIF data")  # a directory is cut
        while True:
            number = len(pages)
            try:
                image.seek(number)
            except EOFError:
                return pages
            except UserWarning:
                reason = f"truncated: the directory of page {number} is cut; copy it again"
                raise DecodeError(reason) from None
            if number >= most:
                raise DecodeError(f"holds more than {most} pages", "refused")
            tags = image.tag_v2
            pages.append({tag: tags[tag] for tag in TAGS if tag in tags})
            _check_page(file, pages[-1], number, file_size)


def _check_page(file: BinaryIO, tags: Tags, number: int, file_size: int) -> None:
    if PHOTOMETRIC not in tags:
        reason = f"page {number} does not say whether 0 is black or white; save it again"
        raise DecodeError(reason, "refused")
    if SIGNED in tags.get(SAMPLE_FORMAT, ()) and _bits(tags) < 32:
        reason = f"page {number} has signed samples; save them unsigned, with 8 or 16 bits"
        raise DecodeError(reason, "refused")
    offsets, counts = STRIPS if STRIPS[0] in tags else TILES
    extents = list(zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False))
    if tags.get(COMPRESSION) == OLD_JPEG or not extents:
        return
    if (end := max(map(sum, extents))) > file_size:
        reason = f"truncated: page {number} needs {end} bytes of {file_size}; copy it again"
        raise DecodeError(reason)
    if not all(count for _, count in extents):
        raise DecodeError(f"page {number} lacks a part of its pixel data; export it again")
    if tags.get(COMPRESSION) in DEFLATE and tags.get(FILL_ORDER, 1) == 1:
        for start, count in extents:  # libtiff does not compare the checksum
            zlib.decompress(os.pread(file.fileno(), count, start))


def _select_pages(pages: list[Tags], notes: list[str]) -> list[int]:
    """Numbers of the pages of the main size; reduced copies and masks are noted."""
    sizes = [(tags[HEIGHT], tags[WIDTH]) for tags in pages]
    flags = [tags.get(SUBFILE, REDUCED * (tags.get(OLD_SUBFILE) == 2)) for tags in pages]
    full = {size for size, flag in zip(sizes, flags, strict=True) if not flag & (REDUCED | MASK)}
    main = [
        number
        for number, (size, flag) in enumerate(zip(sizes, flags, strict=True))
        if not full or (size in full and not flag & MASK)
    ]
    found = sorted({sizes[number] for number in main})
    if len(found) > 1:
        text = ", ".join(f"{height} x {width}" for height, width in found[:4])
        reason = f"its {len(main)} pages have {len(found)} sizes ({text}); save one size per file"
        raise DecodeError(reason, "refused")
    if skipped := len(pages) - len(main):
        notes.append(f"skipped {skipped} of its {len(pages)} pages: reduced copies or masks")
    return main


def _check_subdirectories(file: BinaryIO, pages: list[Tags], notes: list[str]) -> None:
    """Note the reduced copies below pages; refuse images that are as large as their page."""
    file.seek(0)
    head = file.read(16)
    num_copies = 0
    for tags in pages:
        offsets = tags.get(SUBIFDS, ())
        for offset in offsets if isinstance(offsets, tuple) else (offsets,):
            below = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
            file.seek(offset)
            below.load(file)
            size, above = (below.get(HEIGHT, 0), below.get(WIDTH, 0)), (tags[HEIGHT], tags[WIDTH])
            if math.prod(size) >= math.prod(above):
                reason = f"holds an image of {size[0]} x {size[1]} below a page of {above[0]} x "
                raise DecodeError(f"{reason}{above[1]}; save it as a page", "refused")
            num_copies += 1
    if num_copies:
        notes.append(f"skipped {num_copies} reduced copies below its pages")


def _bits(tags: Tags) -> int:
    return max(tags.get(BITS, (1,)))


def _imagej_stack(
    file: BinaryIO, tags: Tags, num_images: int
) -> Sequence[Callable[[], Image.Image]] | None:
    """Images that follow the only page's pixels without a directory, as ImageJ writes over 4 GB."""
    bits, samples = _bits(tags), tags.get(SAMPLES, 1)
    offset = min(tags.get(STRIPS[0], (0,)))
    size = tags[HEIGHT] * tags[WIDTH] * samples * bits // 8
    layout = (samples, bits, FLOAT in tags.get(SAMPLE_FORMAT, ()))
    layouts = {(1, 8, False): "u1", (1, 16, False): "u2", (1, 32, True): "f4", (3, 8, False): "u1"}
    is_plain = tags.get(COMPRESSION, 1) == UNCOMPRESSED and tags.get(Base.Orientation, 1) == 1
    if not (offset and is_plain and layout in layouts):
        return None
    file.seek(0)
    order: Any = "little" if (head := file.read(8))[:2] == b"II" else "big"
    end = offset + num_images * size
    if os.fstat(file.fileno()).st_size < end or offset < int.from_bytes(head[4:], order) < end:
        return None
    dtype = np.dtype(layouts[layout]).newbyteorder(order)
    shape = (tags[HEIGHT], tags[WIDTH], *([3] if samples == 3 else []))

    def read(number: int) -> Image.Image:
        values = np.frombuffer(os.pread(file.fileno(), size, offset + number * size), dtype)
        pixels = values.reshape(shape).astype(dtype.newbyteorder("="))
        is_inverted = tags[PHOTOMETRIC] == WHITE_IS_ZERO and bits == 8
        return Image.fromarray(255 - pixels if is_inverted else pixels)

    return [partial(read, number) for number in range(num_images)]
