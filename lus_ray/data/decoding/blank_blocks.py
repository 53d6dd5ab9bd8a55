"""Find blocks of zero bytes, as a bad copy leaves them, in packets whose codec writes none.

A decoder need not notice them: to arithmetic codes any bytes are valid, and the zeros of a JPEG
read as coefficients of -1.
"""

from typing import Any

BLANK = bytes(64)
NEVER_BLANK = ("h264", "hevc", "vp8", "vp9")
"""FFmpeg's names of codecs without such runs: by emulation prevention, or by arithmetic codes."""

HUFFMAN_TABLES, PROGRESSIVE, SCAN, END = b"\xff\xc4", b"\xff\xc2", b"\xff\xda", b"\xff\xd9"


def has_blank_block(codec: str, packet: Any) -> bool:
    """Whether a packet (a buffer) of a codec holds a blank block that cannot be data."""
    if codec != "mjpeg" and codec not in NEVER_BLANK:
        return False  # uncompressed packets are large: they are not copied
    content = bytes(packet)
    if BLANK not in content:
        return False
    return _has_blank_scan(content) if codec == "mjpeg" else BLANK in content.rstrip(b"\0")


def _has_blank_scan(jpeg: bytes) -> bool:
    """False where zeros may be data: as the code of "end of block", or in a progressive JPEG."""
    at = 2
    while len(segment := jpeg[at : at + 4]) == 4 and segment[:1] == b"\xff":
        marker, size = segment[:2], int.from_bytes(segment[2:], "big")
        if marker == SCAN:
            scan = jpeg[at : jpeg.rfind(END)]
            return HUFFMAN_TABLES not in scan and BLANK in scan
        if marker == PROGRESSIVE:
            return False
        if marker == HUFFMAN_TABLES and _zeros_end_blocks(jpeg[at + 4 : at + 2 + size]):
            return False
        at += 1 if segment[1:2] == b"\xff" else 2 + size  # markers may be preceded by fill bytes
    return False


def _zeros_end_blocks(tables: bytes) -> bool:
    """Whether the first code of a table of AC coefficients, all zeros, stands for no value."""
    while len(tables) > 17:
        if tables[0] >> 4 == 1 and tables[17] & 0x0F == 0:
            return True
        tables = tables[17 + sum(tables[1:17]) :]
    return False
