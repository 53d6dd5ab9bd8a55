"""Detect the format of a file from its first and last bytes, never from its name.

Why a list of our own: FFmpeg would also open playlists and scripts that name other files or
network addresses. It only gets the formats listed here, each with its demuxer forced.
"""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

from lus_ray.errors import DecodeError

HEAD_BYTES = 132
TAIL_BYTES = 4096
PREAMBLE_BYTES = 128
"""May hold anything, even the head of another format, before DICOM's mark."""
DICOM_MARK = b"DICM"
BARE_DICOM = re.compile(rb"[\x02\x08]\x00.\x00(?:[A-Z]{2}|..\x00\x00)", re.DOTALL)
"""First element of DICOM without its preamble: group 2 or 8, then a type or a short length."""
RUN_LENGTH_CODED = (b"\1", b"\2")
"""Compressions of BMP."""
PADDING = b"\0\r\n "
"""May follow the end mark of a file."""
MAX_FPS = 1000.0
"""A higher frame rate in a header is a mistake."""


@dataclass(frozen=True)
class FileFormat:
    """A container: FFmpeg's demuxer, the usual extensions, and the end mark of a file.

    `still` formats hold one image. The end mark is searched in the last `end_within` bytes: some
    cameras append to an image, while the two bytes of the GIF mark occur by chance. Without one, a
    truncated file shows in its frame count.
    """

    name: str
    demuxer: str
    extensions: tuple[str, ...]
    still: bool = False
    end: bytes = b""
    end_within: int = TAIL_BYTES


GIF = FileFormat("GIF", "gif", (".gif",), end=b"\x00;", end_within=2)
PNG = FileFormat("PNG", "", (".png", ".apng"), still=True)
JPEG = FileFormat("JPEG", "jpeg_pipe", (".jpg", ".jpeg", ".jpe"), still=True)
BMP = FileFormat("BMP", "bmp_pipe", (".bmp",), still=True)
TIFF = FileFormat("TIFF", "", (".tif", ".tiff"), still=True)
WEBP = FileFormat("WebP", "", (".webp",), still=True)
JPEG2000 = FileFormat("JPEG 2000", "", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"), still=True)
PNM = FileFormat("PNM", "", (".pnm", ".pgm", ".ppm", ".pbm", ".pfm"), still=True)
"""Decoded without FFmpeg, like every format without a demuxer."""
MP4 = FileFormat("MP4 or MOV", "mov", (".mp4", ".mov", ".m4v", ".qt", ".3gp"))
AVI = FileFormat("AVI", "avi", (".avi",))
MPEG = FileFormat("MPEG program stream", "mpeg", (".mpeg", ".mpg", ".vob"))
MPEG_VIDEO = FileFormat("MPEG video", "mpegvideo", (".mpeg", ".mpg", ".m2v", ".m1v"))
MATROSKA = FileFormat("Matroska or WebM", "matroska", (".mkv", ".webm"))
ASF = FileFormat("ASF or WMV", "asf", (".wmv", ".asf"))
DICOM = FileFormat("DICOM", "", (".dcm", ".dicom", ".ima", ""))
"""Decoded without FFmpeg; exports often have no extension."""

FORMATS = (
    MP4, AVI, MPEG, MPEG_VIDEO, MATROSKA, ASF, GIF, PNG, JPEG, BMP, TIFF, WEBP, JPEG2000, PNM,
    DICOM,
)  # fmt: skip
EXTENSIONS = tuple(dict.fromkeys(name for kind in FORMATS for name in kind.extensions if name))
"""Of all formats."""

STARTS: tuple[tuple[bytes, FileFormat], ...] = (
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    *((start, TIFF) for start in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"BM", BMP),
    (b"\x00\x00\x01\xba", MPEG),
    (b"\x00\x00\x01\xb3", MPEG_VIDEO),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (b"0&\xb2u\x8ef\xcf\x11", ASF),
)

BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""First box of an MP4 or MOV file, after its four-byte length."""


def detect_format(file: BinaryIO) -> FileFormat:
    """The format of an open file, which is rewound.

    Raises:
        DecodeError: the file is empty, of no known format, or lacks its end mark.
    """
    head = file.read(HEAD_BYTES)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    file.seek(0)
    if not head:
        raise DecodeError("the file is empty; copy it again")
    kind = _match_start(head)
    if kind is None:
        raise DecodeError(
            f"{_describe(head)} is neither a video nor an image in a supported format; give "
            + ", ".join(kind.name for kind in FORMATS)
        )
    if kind.end and kind.end not in tail.rstrip(PADDING)[-kind.end_within :]:
        raise DecodeError(f"truncated: the end mark of a {kind.name} is missing; copy it again")
    declared = int.from_bytes(head[2:6], "little")
    if kind is BMP and head[30:31] in RUN_LENGTH_CODED and size < declared:  # FFmpeg fills the rest
        raise DecodeError(f"truncated: {size} of {declared} bytes; copy it again")
    return kind


def check_extension(kind: FileFormat, suffix: str) -> list[str]:
    """A note where the file name has an extension, in lower case, that is not of the format."""
    if not suffix or suffix in kind.extensions:
        return []
    return [f"its name ends in {suffix!r}, but it holds {kind.name}"]


def is_dicom(descriptor: int) -> bool:
    """Whether an open file is DICOM; the file position does not move."""
    return _match_start(os.pread(descriptor, HEAD_BYTES, 0)) is DICOM


def _match_start(head: bytes) -> FileFormat | None:
    if head[PREAMBLE_BYTES:] == DICOM_MARK or BARE_DICOM.match(head):
        return DICOM
    if head[:4] == b"RIFF":
        return {b"AVI ": AVI, b"WEBP": WEBP}.get(head[8:12])
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3] in b" \t\r\n#":
        return PNM
    if head[4:8] in BOXES:
        return MP4
    return next((kind for start, kind in STARTS if head.startswith(start)), None)


def _describe(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page (a failed download?)"
    if head.isascii() and head.decode().replace("\n", "").replace("\r", "").isprintable():
        return "a text file"
    return f"a file that begins with the bytes {head[:8].hex(' ')}"
