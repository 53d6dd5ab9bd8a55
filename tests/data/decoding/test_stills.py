import struct
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.errors import DecodeError
from tests.data.decoding.still_files import RAMP, WIDE, chunk, colour, png, save
from tests.data.decoding.tiff_files import page, tiff

HALF = RAMP[::2, ::2]
UNIT = RAMP / np.float32(255)
CLEAR = np.where(RAMP == 85, 0, RAMP)
"""The ramp where the grey 85 is transparent."""
SHIFTED = [np.roll(RAMP, 4 * number, axis=1) for number in range(12)]
CORNER = RAMP.copy()
CORNER[:8, :16] = 255
UPRIGHT = {
    1: CORNER,
    2: CORNER[:, ::-1],
    3: CORNER[::-1, ::-1],
    4: CORNER[::-1],
    5: CORNER.T,
    6: np.rot90(CORNER, 3),
    7: CORNER[::-1, ::-1].T,
    8: np.rot90(CORNER),
}


FOUR_BITS = (RAMP // 17)[:, ::2] << 4 | (RAMP // 17)[:, 1::2]
RAMPS = {
    "palette.tif": lambda: tiff([page(RAMP, t262=3, t320=[257 * v for v in range(256)] * 3)]),
    "inverse palette.tif": lambda: tiff(
        [page(255 - RAMP, t262=3, t320=[257 * v for v in range(255, -1, -1)] * 3)]
    ),
    "8-bit palette.tif": lambda: tiff([page(RAMP, t262=3, t320=[*range(256)] * 3)]),
    "4 bits.tif": lambda: tiff([page(RAMP, t258=4, strips=[FOUR_BITS.tobytes()])]),
    "alpha.tif": lambda: tiff([page(colour(RAMP, 1, 255), t338=2)]),
    "unused.tif": lambda: tiff([page(colour(RAMP, 3, 0), t262=2, t338=0)]),
    "cmyk.tif": lambda: tiff([page(np.dstack([*[np.zeros_like(RAMP)] * 3, 255 - RAMP]), t262=5)]),
    "ycbcr.tif": lambda: tiff(
        [page(np.dstack([RAMP, *[np.full_like(RAMP, 128)] * 2]), t262=6, t530=[1, 1])]
    ),
    "jpeg.tif": lambda: save(colour(RAMP), "TIFF", compression="jpeg", quality=100),
    "lzw.tif": lambda: save(RAMP, "TIFF", compression="tiff_lzw"),
    "big.tif": lambda: save(RAMP, "TIFF", big_tiff=True),
    "4 bits.png": lambda: png(4, 0, FOUR_BITS),
    "16 bits.png": lambda: png(16, 0, WIDE.astype(">u2")),
    "16-bit colour.png": lambda: png(16, 2, colour(WIDE).astype(">u2")),
    "16-bit alpha.png": lambda: png(16, 4, colour(WIDE, 1, 65535).astype(">u2")),
    "lossless.webp": lambda: save(RAMP, "WEBP"),
    "lossy.webp": lambda: save(RAMP, "WEBP", lossless=False, quality=95),
    "grey.jp2": lambda: save(RAMP, "JPEG2000"),
    "colour.jp2": lambda: save(colour(RAMP), "JPEG2000"),
    "16 bits.jp2": lambda: save(WIDE, "JPEG2000"),
    "stream.j2k": lambda: save(RAMP, "JPEG2000", no_jp2=True),
    "grey.pgm": lambda: b"P5 64 32 255\n" + RAMP.tobytes(),
    "comment.ppm": lambda: b"P6\n# by hand\n64 32\n255\n" + colour(RAMP).tobytes(),
    "4 bits.pgm": lambda: b"P5 64 32 15\n" + (RAMP // 17).tobytes(),
    "16 bits.pgm": lambda: b"P5 64 32 65535\n" + WIDE.astype(">u2").tobytes(),
    "text.pgm": lambda: b"P2 64 32 255\n" + b" ".join(b"%d" % value for value in RAMP.flat),
    "float.pfm": lambda: b"Pf 64 32 -1.0\n" + UNIT[::-1].astype("<f4").tobytes(),
}


@pytest.mark.parametrize("name", RAMPS)
def test_every_kind_of_samples_gives_the_same_greys(name, decode):
    decoded = decode(RAMPS[name](), name)
    assert decoded.frames.shape == (1, 32, 64)
    assert np.abs(decoded.frames[0].astype(int) - RAMP).max() <= 1
    assert decoded.fps is None
    assert not any("its name ends" in note for note in decoded.notes)


@pytest.mark.parametrize(
    "content",
    [
        png(4, 0, FOUR_BITS, struct.pack(">H", 5)),
        png(8, 0, RAMP, struct.pack(">H", 85)),
        png(16, 0, WIDE.astype(">u2"), struct.pack(">H", 85 * 257)),
        png(8, 2, colour(RAMP), struct.pack(">HHH", 85, 85, 85)),
        png(8, 6, np.dstack([RAMP] * 3 + [np.where(RAMP == 85, 0, 255).astype(np.uint8)])),
    ],
)
def test_transparent_is_black_at_every_depth(content, decode):
    assert np.array_equal(decode(content).frames[0], CLEAR)


def test_colour_has_the_luma_of_ffmpeg(decode):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    expected = av.VideoFrame.from_ndarray(pixels, format="rgb24").to_ndarray(format="gray")
    for kind in ("PNG", "TIFF", "WEBP", "PPM"):
        assert np.array_equal(decode(save(pixels, kind)).frames[0], expected), kind


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_every_orientation_is_applied_and_noted(kind, orientation, decode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    decoded = decode(save(CORNER, kind, **settings))
    assert np.array_equal(decoded.frames[0], UPRIGHT[orientation])
    assert (decoded.height, decoded.width) == UPRIGHT[orientation].shape
    text = " ".join(decoded.notes)
    assert ("mirrored" in text) == (orientation in (2, 4, 5, 7))
    assert ("rotated" in text) == (orientation in (3, 5, 6, 7, 8))


@pytest.mark.parametrize(
    ("content", "fps"),
    [
        (save(SHIFTED, "TIFF"), None),
        (save(SHIFTED, "TIFF", compression="tiff_lzw", big_tiff=True), None),
        (save(SHIFTED, "PNG", duration=40), 25.0),
        (save(SHIFTED, "WEBP", duration=40), 25.0),
        (save(SHIFTED, "WEBP", duration=[40, 80] * 6), None),
        (b"".join(b"P5 64 32 255\n" + one.tobytes() for one in SHIFTED), None),
    ],
    ids=["stack", "big stack", "png", "webp", "varying webp", "pgm"],
)
def test_every_page_and_every_image_of_an_animation_is_a_frame(content, fps, decode):
    decoded = decode(content)
    assert np.array_equal(decoded.frames, SHIFTED)
    assert (decoded.num_declared, decoded.fps) == (12, fps)


def write_animation(images):
    """An animated PNG of 6 x 8 pixels; each image is (RGBA, left, top, disposal, blend)."""
    chunks, order = [], 0
    for number, (pixels, left, top, disposal, blend) in enumerate(images):
        height, width = pixels.shape[:2]
        fields = (order, width, height, left, top, 40, 1000, disposal, blend)
        chunks.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", *fields)))
        content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
        if number:
            chunks.append(chunk(b"fdAT", struct.pack(">I", order + 1) + content))
        else:
            chunks.append(chunk(b"IDAT", content))
        order += 1 + bool(number)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 8, 6, 0, 0, 0))
    head += chunk(b"acTL", struct.pack(">II", len(images), 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def compose(images):
    """What a viewer shows where alpha is 0 or 255, by the specification of animated PNGs."""
    canvas = np.zeros((6, 8, 4), np.uint8)
    for pixels, left, top, disposal, blend in images:
        before = canvas.copy()
        region = canvas[top : top + len(pixels), left : left + pixels.shape[1]]
        region[:] = np.where((pixels[..., 3:] == 0) & (blend == 1), region, pixels)
        luma = canvas[..., :3] @ np.array([0.299, 0.587, 0.114])
        yield np.where(canvas[..., 3] > 0, luma, 0)
        if disposal == 1:
            region[:] = 0
        elif disposal == 2:
            canvas = before


@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("blend", [0, 1])
def test_an_animation_is_composed_as_a_viewer_shows_it(disposal, blend, decode):
    rng = np.random.default_rng(disposal)
    images = [
        (rng.integers(0, 256, (*size, 4), dtype=np.uint8), left, top, kind, blend if left else 0)
        for size, left, top, kind in (
            ((6, 8), 0, 0, 0),
            ((4, 5), 1, 1, disposal),
            ((3, 4), 2, 2, 2 - disposal),
            ((5, 7), 1, 0, 0),
        )
    ]
    for pixels, *_ in images:
        pixels[..., 3] = np.where(pixels[..., 3] < 128, 0, 255)
    decoded = decode(write_animation(images))
    for frame, expected in zip(decoded.frames, compose(images), strict=True):
        assert np.abs(frame - expected).max() <= 1


def test_the_image_for_viewers_without_animation_is_no_frame(decode):
    content = save([HALF.repeat(2, 0).repeat(2, 1), *SHIFTED[:3]], "PNG", default_image=True)
    decoded = decode(content)
    assert np.array_equal(decoded.frames, SHIFTED[:3])
    assert any("skipped the image" in note for note in decoded.notes)


REFUSED = {
    "16 bits, 8 used": (tiff([page(RAMP.astype(np.uint16))]), "span 0 to 255 of 0 to 65535"),
    "12 bits": (tiff([page(RAMP.astype(np.uint16) * 16)]), "span 0 to 4080"),
    "16-bit colour": (tiff([page(colour(RAMP.astype(np.uint16)))]), "span 0 to 255"),
    "16-bit png": (save(RAMP.astype(np.uint16), "PNG"), "span 0 to 255"),
    "16-bit alpha png": (png(16, 4, colour(WIDE // 257, 1, 65535).astype(">u2")), "span 0 to 255"),
    "16-bit jp2": (save(RAMP.astype(np.uint16), "JPEG2000"), "span 0 to 255"),
    "16-bit pgm": (b"P5 64 32 65535\n" + (WIDE // 257).astype(">u2").tobytes(), "span 0 to 255"),
    "float of any range": (tiff([page(UNIT * 4095)]), "span 0 to 4095, and nothing says"),
    "float with gaps": (tiff([page(np.where(RAMP > 0, UNIT, np.nan))]), "nothing says"),
    "classes": (tiff([page(RAMP.astype(np.int32) // 85)]), "span 0 to 3, and nothing says"),
    "float64": (tiff([page(RAMP / 255)]), "save it as a PNG of 8 bits"),
    "hidden": (png(8, 6, colour(RAMP, 3, 0)), "transparent throughout"),
    "two sizes of pgm": (b"P5 64 32 255\n" + RAMP.tobytes() + b"P5 1 1 255\n0", "size changes"),
    "a wrong pgm": (b"P5 64 32 255\n" + RAMP.tobytes() + b"\x07\x08", "2 bytes more"),
    "a list of a wrong length": (
        save(SHIFTED, "PNG").replace(
            chunk(b"acTL", struct.pack(">II", 12, 0)), chunk(b"acTL", struct.pack(">II", 6, 0))
        ),
        "declares 6 images and holds 12",
    ),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG2000", "j2k"])
def test_several_files_in_one_are_refused_with_their_number(kind, decode):
    settings = {"no_jp2": True} if kind == "j2k" else {}
    content = save(RAMP, "JPEG2000" if settings else kind, **settings)
    with pytest.raises(DecodeError, match="holds 3 images; save one per file"):
        decode(content * 3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_stored_wrongly_is_refused_with_its_numbers(name, decode):
    content, cause = REFUSED[name]
    with pytest.raises(DecodeError, match=cause):
        decode(content)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        (DecodeLimits(num_frames=8), "12 frames; at most 8|more than 8 pages"),
        (DecodeLimits(frame_pixels=1000), "32 x 64 pixels; at most 1000"),
        (DecodeLimits(stored_bytes=9000), "MiB as grey frames"),
    ],
)
def test_limits_hold_for_pages(kind, limits, cause, decode, decoder, monkeypatch):
    monkeypatch.setattr(decoder, "limits", limits)
    with pytest.raises(DecodeError, match=cause) as caught:
        decode(save(SHIFTED, kind))
    assert caught.value.kind == "refused"


def test_a_header_of_a_huge_image_is_refused_at_once(decode):
    for content in (
        tiff([page(RAMP, t256=60000, t257=60000, t278=60000)]),
        b"P5 60000 60000 255\n" + RAMP.tobytes(),
    ):
        with pytest.raises(DecodeError, match="60000 x 60000 pixels; at most"):
            decode(content)
