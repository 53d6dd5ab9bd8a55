"""Write TIFF files byte by byte: layouts that Pillow reads and does not write."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

SHORT, LONG, ASCII = 3, 4, 2
SIZES = {SHORT: "H", LONG: "I"}


def page(samples: np.ndarray, *, order: str = "<", **tags: object) -> dict:
    """One page of uncompressed samples (H, W) or (H, W, C); `tags` by number as t262=..."""
    samples = np.asarray(samples)
    height, width, *channels = samples.shape
    count = channels[0] if channels else 1
    code = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    fields = {
        256: width,
        257: height,
        258: [8 * samples.dtype.itemsize] * count,
        259: 1,
        262: 2 if count == 3 else 1,
        277: count,
        278: height,
        339: [code] * count,
    }
    fields |= {int(name[1:]): value for name, value in tags.items() if name != "strips"}
    return {"fields": fields, "strips": tags.get("strips", [data])}


def tiff(pages: Sequence[Mapping], *, order: str = "<", below: Sequence[Mapping] = ()) -> bytes:
    """A TIFF of `pages`; `below` are sub-directories of the first."""
    content = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    offsets = [_add_page(content, one, order, []) for one in below]
    link = 4
    for number, one in enumerate(pages):
        start = _add_page(content, one, order, offsets if number == 0 else [])
        struct.pack_into(order + "I", content, link, start)
        link = start + 2 + 12 * struct.unpack_from(order + "H", content, start)[0]
    return bytes(content)


def _add_page(content: bytearray, one: Mapping, order: str, below: list[int]) -> int:
    fields, starts = dict(one["fields"]), []
    for strip in one["strips"]:
        starts.append(len(content))
        content += strip
    fields = {273: starts, 279: [len(strip) for strip in one["strips"]]} | fields
    fields |= {330: below} if below else {}
    entries = b""
    for tag, value in sorted((tag, value) for tag, value in fields.items() if value is not None):
        if isinstance(value, str):
            kind, count, data = ASCII, len(value) + 1, value.encode() + b"\0"
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            kind = LONG if tag in (273, 279, 324, 325, 330) else SHORT
            count, data = len(values), struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
        if len(data) > 4:
            content += b"\0" * (len(content) % 2)
            data, at = struct.pack(order + "I", len(content)), data
            content += at
        entries += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    content += b"\0" * (len(content) % 2)
    start = len(content)
    content += struct.pack(order + "H", len(entries) // 12) + entries + b"\0\0\0\0"
    return start
