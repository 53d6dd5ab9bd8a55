"""Find damage of a JPEG that libjpeg conceals.

FFmpeg decodes it again, strictly: it notices invalid codes and data that end early. Data that
remain after the last block show in a second run, with a size in the header of some blocks more,
which must fail. A change that leaves valid codes for all blocks cannot be noticed.
"""

import math
from typing import Any

import av
from av.error import FFmpegError

from lus_ray.data.decoding.damage import STRICT
from lus_ray.errors import DecodeError

SEQUENTIAL = (b"\xff\xc0", b"\xff\xc1")
"""Frame headers of JPEGs in one pass."""
SPARE_UNITS = 8
"""Coded units whose worth of padding may follow the image."""
MAX_SIDE = 65_535


def check_jpeg(content: bytes) -> None:
    """Decode a JPEG strictly.

    Raises:
        DecodeError: it is damaged.
    """
    if not _decodes(content):
        raise DecodeError("a JPEG is damaged")
    longer = _enlarge(content)
    if longer and _decodes(longer):
        raise DecodeError("a JPEG is damaged: data remain after its image")


def _decodes(content: bytes) -> bool:
    context: Any = av.CodecContext.create("mjpeg", "r")
    context.thread_count = 1
    context.options = STRICT
    try:
        return bool(context.decode(av.Packet(content)) + context.decode(None))
    except FFmpegError:
        return False


def _enlarge(content: bytes) -> bytes | None:
    """The same data under a header of `SPARE_UNITS` or a few more units; None where it cannot be.

    The units follow each other in any shape of the image, so that another width does not matter.
    """
    at = max(content.find(start) for start in SEQUENTIAL)
    if at < 0 or len(content) < at + 10 + 3 * content[at + 9]:
        return None
    height, width = (int.from_bytes(content[at + i : at + i + 2]) for i in (5, 7))
    sampling = [content[at + 11 + 3 * i] for i in range(content[at + 9])]
    grey = len(sampling) == 1
    across = 8 * (1 if grey else max(factors >> 4 for factors in sampling))
    down = 8 * (1 if grey else max(factors & 15 for factors in sampling))
    units = math.ceil(width / across) * math.ceil(height / down) + SPARE_UNITS
    for number in range(units, units + 1000):
        rows = math.isqrt(number)
        while number % rows:
            rows -= 1
        if number // rows * across <= MAX_SIDE:
            size = (rows * down).to_bytes(2) + (number // rows * across).to_bytes(2)
            return content[: at + 5] + size + content[at + 9 :]
    return None
