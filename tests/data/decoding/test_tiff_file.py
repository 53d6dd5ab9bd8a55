import zlib

import numpy as np
import pytest

from lus_ray.errors import DecodeError
from tests.data.decoding.still_files import RAMP, WIDE, colour
from tests.data.decoding.tiff_files import page, tiff

HALF = RAMP[::2, ::2]
UNIT = RAMP / np.float32(255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_layout_of_a_tiff_gives_the_same_greys_in_either_byte_order(order, decode):
    def write(samples, **tags):
        return tiff([page(samples, order=order, **tags)], order=order)

    wide = WIDE.astype(WIDE.dtype.newbyteorder(order)).tobytes()
    floats = UNIT.astype(UNIT.dtype.newbyteorder(order)).tobytes()
    rows = [RAMP[start : start + 8].tobytes() for start in range(0, 32, 8)]
    tiles = b"".join(
        RAMP[top : top + 16, left : left + 16].tobytes()
        for top in (0, 16)
        for left in range(0, 64, 16)
    )
    offsets = {"t324": list(range(8, 8 + 2048, 256)), "t325": [256] * 8, "t273": None, "t279": None}
    layouts = {
        "white is zero": write(255 - RAMP, t262=0),
        "16 bits": write(WIDE),
        "16 bits, white is zero": write(65535 - WIDE, t262=0),
        "16-bit colour": write(colour(WIDE)),
        "planes": write(colour(RAMP), t284=2, strips=[RAMP.tobytes()] * 3),
        "16-bit planes": write(colour(WIDE), t284=2, strips=[wide] * 3),
        "strips": write(RAMP, t278=8, strips=rows),
        "tiles": write(RAMP, t278=None, t322=16, t323=16, strips=[tiles], **offsets),
        "deflate": write(WIDE, t259=8, strips=[zlib.compress(wide)]),
        "0-1": write(UNIT),
        "0-1, white is zero": write(1 - UNIT, t262=0),
        "0-1, deflate": write(UNIT, t259=8, strips=[zlib.compress(floats)]),
        "0-255": write(RAMP.astype(np.float32)),
        "32 bits": write(RAMP.astype(np.uint32)),
        "32 bits, signed": write(RAMP.astype(np.int32)),
    }
    for name, content in layouts.items():
        grey = decode(content, "a.tif").frames[0].astype(int)
        assert np.abs(grey - RAMP).max() <= 1, name


SMALL = page(HALF, t254=1)
DESCRIBED = {
    "ImageJ": "ImageJ=1.53\nimages=4\nslices=4\n",
    "tifffile": '{"shape": [4, 32, 64], "truncated": true}',
    "OME": '<OME><Pixels SizeX="64" SizeY="32" SizeC="1" SizeZ="1" SizeT="4"/></OME>',
}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (tiff([page(RAMP), SMALL, SMALL]), "skipped 2 of its 3 pages"),
        (tiff([SMALL, page(RAMP)]), "skipped 1 of its 2 pages"),
        (tiff([page(RAMP), page(RAMP, t254=4)]), "skipped 1 of its 2 pages"),
        (tiff([page(RAMP)], below=[SMALL]), "skipped 1 reduced copies below"),
    ],
)
def test_reduced_copies_and_masks_are_skipped_with_their_number(content, note, decode):
    decoded = decode(content)
    assert np.array_equal(decoded.frames, [RAMP])
    assert any(note in text for text in decoded.notes)


@pytest.mark.parametrize("order", ["<", ">"])
def test_images_that_imagej_writes_without_directories_are_frames(order, decode):
    for samples in (RAMP, WIDE):
        data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
        tags = {"t270": DESCRIBED["ImageJ"], "t279": len(data), "strips": [data * 4]}
        content = tiff([page(samples, order=order, **tags)], order=order)
        assert np.array_equal(decode(content).frames, [RAMP] * 4)


STRIPS = [RAMP[start : start + 8].tobytes() for start in range(0, 24, 8)]
REFUSED = {
    "two sizes": (tiff([page(RAMP), page(HALF)]), "2 pages have 2 sizes .16 x 32, 32 x 64."),
    "a larger image below": (tiff([SMALL], below=[page(RAMP)]), "32 x 64 below a page"),
    "channels": (tiff([page(RAMP, t270="ImageJ=1\nimages=2\nchannels=2\n")] * 2), "2 channels"),
    **{
        name: (tiff([page(RAMP, t270=text)]), "declares 4 images, but it holds 1")
        for name, text in DESCRIBED.items()
    },
    "no white": (tiff([page(RAMP, t262=None)]), "whether 0 is black or white"),
    "signed": (tiff([page(RAMP.astype(np.int16))]), "signed samples"),
    "a lost strip": (tiff([page(RAMP, t278=8, strips=STRIPS)]), "damaged"),
    "a short strip": (tiff([page(RAMP, strips=STRIPS[:1])]), "damaged"),
    "an empty strip": (
        tiff([page(RAMP, t278=8, t273=[8] * 4, t279=[512, 0, 512, 512])]),
        "lacks a part",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pages_and_samples_that_are_ambiguous_are_refused(name, decode):
    content, cause = REFUSED[name]
    with pytest.raises(DecodeError, match=cause):
        decode(content)
