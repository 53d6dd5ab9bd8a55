"""Separate the first image of a JPEG file from what follows it.

Cameras append previews, gain maps and short videos; other files are series or stereo pairs.
"""

import io
import math
import re
import struct
from typing import BinaryIO

from lus_ray.errors import DecodeError

START, END = b"\xff\xd8\xff", 0xD9
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Of a segment, also after entropy-coded data, where zero bytes and restarts are escaped."""
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
GAIN_MAP = re.compile(rb"GainMap|iso:ts:21496")
"""In the metadata of an image that brightens the first one on some screens."""
VIDEO = b"ftyp"

Size = tuple[int, int]


def read_first(file: BinaryIO, notes: list[str]) -> BinaryIO:
    """The first image of an open JPEG file; `notes` takes what follows it.

    Raises:
        DecodeError: the image does not end, or another one is at least as large.
    """
    content = file.read()
    first = _scan(content, 0)
    if first is None:
        raise DecodeError("truncated: the end mark of its image is missing; copy it again")
    size, end = first
    image = io.BytesIO(content[:end])
    if (video := content.find(VIDEO, end) - 4) >= end:
        notes.append(f"skipped a video of {len(content) - video} bytes after the image")
        content = content[:video]
    num_large = num_small = 0
    while (start := content.find(START, end)) >= 0:
        found = _scan(content, start)
        end = found[1] if found else start + len(START)
        if (
            found
            and not GAIN_MAP.search(content, start, end)
            and math.prod(found[0]) >= math.prod(size)
        ):
            num_large += 1
        elif found:
            num_small += 1
    if num_large:
        reason = f"holds {num_large + 1} images; save one per file, or a video"
        raise DecodeError(reason, "refused")
    if num_small:
        notes.append(f"skipped {num_small} previews or gain maps after the image")
    return image


def _scan(content: bytes, start: int) -> tuple[Size, int] | None:
    """(Height, width) and end of the image at `start`; None where it is not whole."""
    size, position = (0, 0), start + 2
    while match := MARKER.search(content, position):
        code, position = match[0][1], match.end()
        if code == END:
            return size, position
        if code in FRAME_HEADERS and position + 7 <= len(content):
            size = struct.unpack_from(">HH", content, position + 3)
        position += int.from_bytes(content[position : position + 2])
    return None
