"""Which format a file holds, told by its first and last bytes and never by its name.

Why a list of our own: FFmpeg would also open playlists and scripts that name other files or
network addresses. Only the formats here are ever handed to it, each under its own name.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

from lus_ray.errors import DecodeError

HEAD_BYTES = 132
TAIL_BYTES = 4096
PREAMBLE_BYTES = 128
"""May hold anything, even the head of another format, before DICOM's mark."""
DICOM_MARK = b"DICM"
PADDING = b"\0\r\n "
"""May follow the mark that ends a file."""


@dataclass(frozen=True)
class Format:
    """A container: FFmpeg's name for it, the usual extensions, and the mark that ends a file.

    `still` formats hold one picture. `end` is empty where the format has no end mark; there a
    truncated file is told by its frame count. The mark is looked for in the last `end_within`
    bytes: some cameras append to an image, while two bytes of a GIF mark turn up by chance.
    """

    name: str
    demuxer: str
    extensions: tuple[str, ...]
    still: bool = False
    end: bytes = b""
    end_within: int = TAIL_BYTES


GIF = Format("GIF", "gif", (".gif",), end=b"\x00;", end_within=2)
PNG = Format("PNG", "png_pipe", (".png",), still=True, end=b"IEND\xaeB`\x82")
JPEG = Format("JPEG", "jpeg_pipe", (".jpg", ".jpeg", ".jpe"), still=True, end=b"\xff\xd9")
BMP = Format("BMP", "bmp_pipe", (".bmp",), still=True)
TIFF = Format("TIFF", "tiff_pipe", (".tif", ".tiff"), still=True)
MP4 = Format("MP4 or MOV", "mov", (".mp4", ".mov", ".m4v", ".qt", ".3gp"))
AVI = Format("AVI", "avi", (".avi",))
MPEG = Format("MPEG program stream", "mpeg", (".mpeg", ".mpg", ".vob"))
MPEG_VIDEO = Format("MPEG video", "mpegvideo", (".mpeg", ".mpg", ".m2v", ".m1v"))
MATROSKA = Format("Matroska or WebM", "matroska", (".mkv", ".webm"))
ASF = Format("ASF or WMV", "asf", (".wmv", ".asf"))
DICOM = Format("DICOM", "", (".dcm", ".dicom", ".ima", ""))
"""Read by `dicom_frames.py`, without FFmpeg; exports often have no extension."""

STARTS: tuple[tuple[bytes, Format], ...] = (
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"BM", BMP),
    (b"\x00\x00\x01\xba", MPEG),
    (b"\x00\x00\x01\xb3", MPEG_VIDEO),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (b"0&\xb2u\x8ef\xcf\x11", ASF),
)

BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""The first box of an MP4 or MOV file stands after its four-byte length."""


def known(file: BinaryIO) -> Format:
    """The format of an open file, which is left at its beginning.

    Raises:
        DecodeError: the file is empty, is of no known format, or lacks the mark that ends it.
    """
    head = file.read(HEAD_BYTES)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    file.seek(0)
    if not head:
        raise DecodeError("the file is empty; copy it again")
    found = _by_start(head)
    if found is None:
        raise DecodeError(f"{_guess(head)} is neither a video nor an image that can be read here")
    if found.end and found.end not in tail.rstrip(PADDING)[-found.end_within :]:
        raise DecodeError(f"truncated: the mark that ends a {found.name} is missing; copy it again")
    return found


def is_dicom(descriptor: int) -> bool:
    """Whether an open file bears DICOM's mark; its place in the file does not move."""
    return os.pread(descriptor, 4, PREAMBLE_BYTES) == DICOM_MARK


def _by_start(head: bytes) -> Format | None:
    if head[PREAMBLE_BYTES:] == DICOM_MARK:
        return DICOM
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if head[4:8] in BOXES:
        return MP4
    return next((known for start, known in STARTS if head.startswith(start)), None)


def _guess(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page (a failed download?)"
    return f"a file that begins with {head[:12]!r}"
