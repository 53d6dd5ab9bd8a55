import struct

import numpy as np
import pytest

from lus_ray.errors import DecodeError
from tests.data.decoding.still_files import colour, save


def run_length_bmp(pixels):
    """A BMP of runs of one pixel, which Pillow does not write."""
    rows = [np.insert(row, range(len(row)), 1).tobytes() + b"\0\0" for row in pixels[::-1]]
    data = b"".join(rows) + b"\0\1"
    palette = b"".join(bytes([value] * 3 + [0]) for value in range(256))
    start = 54 + len(palette)
    height, width = pixels.shape
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    fields = (40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return head + struct.pack("<IiiHHIIiiII", *fields) + palette + data


NOISE = np.random.default_rng(2).integers(0, 256, (64, 64), dtype=np.uint8)
CUT = {
    "png": lambda: save(NOISE, "PNG"),
    "apng": lambda: save([NOISE, NOISE.T, NOISE[::-1]], "PNG"),
    "webp": lambda: save(NOISE, "WEBP"),
    "jp2": lambda: save(NOISE, "JPEG2000"),
    "pgm": lambda: save(NOISE, "PPM"),
    "bmp": lambda: save(NOISE, "BMP"),
    "coded bmp": lambda: run_length_bmp(NOISE),
    "raw tiff": lambda: save(NOISE, "TIFF"),
    "deflate tiff": lambda: save([NOISE, NOISE.T], "TIFF", compression="tiff_adobe_deflate"),
    "jpeg tiff": lambda: save(colour(NOISE), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("name", CUT)
def test_a_cut_still_is_never_stored(name, decode):
    whole = CUT[name]()
    decode(whole)
    for percent in range(10, 100, 10):
        with pytest.raises(DecodeError):
            decode(whole[: len(whole) * percent // 100])


@pytest.mark.parametrize("name", ["png", "apng", "deflate tiff"])
def test_overwritten_bytes_are_refused_where_a_checksum_exists(name, decode):
    whole = CUT[name]()
    for position in range(len(whole) // 8, len(whole) - 20, len(whole) // 9):
        content = bytearray(whole)
        content[position] ^= 0x55
        with pytest.raises(DecodeError):
            decode(bytes(content))
