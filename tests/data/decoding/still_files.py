"""Write still images of many kinds, each with the same greys."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RAMP = np.tile(np.repeat(np.arange(16, dtype=np.uint8) * 17, 4), (32, 1))
"""32 x 64, 16 greys from 0 to 255."""
WIDE = RAMP.astype(np.uint16) * 257


def save(pixels, kind, **settings):
    """The bytes of a file; several arrays become the images of one file."""
    images = [Image.fromarray(one) for one in (pixels if isinstance(pixels, list) else [pixels])]
    if kind == "WEBP":
        images = [image.convert("RGB") for image in images]
        settings = {"lossless": True} | settings
    if len(images) > 1:
        settings |= {"save_all": True, "append_images": images[1:]}
    file = io.BytesIO()
    images[0].save(file, kind, **settings)
    return file.getvalue()


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(depth, colour, pixels, transparent=b""):
    """A PNG of any depth and colour type, which Pillow does not write."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", 64, 32, depth, colour, 0, 0, 0)
    extra = chunk(b"tRNS", transparent) if transparent else b""
    chunks = (chunk(b"IHDR", head), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def colour(pixels, count=3, alpha=None):
    planes = [pixels] * count + ([] if alpha is None else [np.full_like(pixels, alpha)])
    return np.stack(planes, axis=-1)
