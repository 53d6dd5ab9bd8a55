import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.errors import DecodeError
from tests.data.decoding import dicom_files as files

LITTLE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
EXACT = (*LITTLE, uid.ExplicitVRBigEndian, uid.RLELossless)
JPEG = uid.JPEGBaseline8Bit


def assert_refused(decoder, path, cause):
    """The file is refused in one line that names nobody."""
    with pytest.raises(DecodeError, match=cause) as caught:
        decoder.decode(path)
    assert "\n" not in str(caught.value)
    assert_nameless(str(caught.value))


def assert_nameless(text):
    assert not [secret for secret in (*files.SECRETS, "DOE") if secret in text]


@pytest.fixture
def decode(tmp_path, decoder):
    """`decode(frames, **elements)` writes a file and decodes it."""
    return lambda frames, **elements: decoder.decode(
        files.write(tmp_path / "a.dcm", frames, **elements)
    )


@pytest.mark.parametrize("syntax", EXACT)
@pytest.mark.slow
def test_lossless_syntaxes_give_the_pixels_as_they_were(syntax, decode):
    decoded = decode(files.fan(), syntax=syntax)
    assert np.array_equal(decoded.frames, files.fan())
    assert (decoded.fps, decoded.format, decoded.num_declared) == (25.0, "DICOM", 6)


@pytest.mark.slow
def test_the_region_is_cut_out_and_its_spacing_follows_the_shrinking(tmp_path, decoder):
    regions = [files.region()]
    path = files.write(tmp_path / "a", files.fan(), SequenceOfUltrasoundRegions=regions)
    top, left, bottom, right = files.REGION
    decoded = decoder.decode(path)
    assert np.array_equal(decoded.frames, files.fan()[:, top:bottom, left:right])
    assert decoded.mm_per_pixel == pytest.approx(0.2)
    assert decoded.notes == ()
    with FileDecoder(max_side=50) as small:
        half = small.decode(path)
    assert (half.frames.shape, half.height, half.width) == ((6, 40, 50), 80, 100)
    assert half.mm_per_pixel == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("note", "regions"),
    [
        ("no ultrasound region", None),
        ("no ultrasound region", [{"RegionDataType": 2}]),
        ("2 ultrasound regions", [{}, {}]),
        ("no spacing in centimetres", [{"PhysicalUnitsXDirection": 4}]),
        ("no spacing in centimetres", [{"PhysicalDeltaY": 0.0}]),
        ("not square", [{"PhysicalDeltaX": 0.03}]),
    ],
)
def test_an_uncertain_spacing_is_stored_as_unknown(note, regions, decode):
    listed = regions and [files.region(**changes) for changes in regions]
    decoded = decode(files.fan(), SequenceOfUltrasoundRegions=listed)
    assert decoded.mm_per_pixel is None
    assert note in decoded.notes[0]


@pytest.mark.parametrize(
    ("elements", "fps"),
    [
        ({"FrameTime": 20.0, "CineRate": 7}, 50.0),
        ({"FrameTime": None, "FrameTimeVector": [0, 30, 50, 40, 40, 40]}, 25.0),
        ({"FrameTime": None, "CineRate": 30, "RecommendedDisplayFrameRate": 10}, 30.0),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": 10}, 10.0),
        ({"FrameTime": None}, None),
        ({"FrameTime": 0.001}, None),
    ],
)
def test_the_frame_rate_comes_from_the_cine_module(elements, fps, decode):
    assert decode(files.fan(), **elements).fps == (fps and pytest.approx(fps))


def test_inverted_grey_is_inverted_back_and_sixteen_bits_become_eight(decode):
    inverted = decode(255 - files.fan(), PhotometricInterpretation="MONOCHROME1")
    deep = decode(files.fan().astype(np.uint16) * 16, BitsStored=12, HighBit=11)
    assert np.array_equal(inverted.frames, files.fan())
    assert np.array_equal(deep.frames, files.fan())


def test_jpeg_frames_give_the_pixels_nearly_and_notes_name_nobody(decode):
    smooth = np.zeros((4, 64, 64), np.uint8)
    smooth[:, 16:48, 16:48] = np.linspace(60, 180, 32, dtype=np.uint8)
    decoded = decode(smooth, syntax=JPEG, Modality="DOE")
    assert np.abs(decoded.frames.astype(int) - smooth).mean() < 2
    assert "not call it ultrasound" in decoded.notes[0]
    assert_nameless(repr((decoded.notes, decoded.format)))


@pytest.mark.parametrize(
    ("kind", "colour", "elements"),
    [
        ("RGB", (200, 0, 0), {}),
        ("YBR_FULL", (60, 94, 228), {}),
        ("RGB", (200, 0, 0), {"syntax": JPEG}),  # a JPEG of YBR that the header calls RGB
        ("YBR_FULL_422", (200, 0, 0), {"syntax": JPEG}),
    ],
)
def test_colours_become_luma(kind, colour, elements, decode):
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B; of YBR it is the first component."""
    red = np.full((2, 16, 16, 3), colour, np.uint8)
    decoded = decode(red, PhotometricInterpretation=kind, **elements)
    assert np.abs(decoded.frames.astype(int) - 60).max() <= (2 if elements else 1)


LARGE_JPEG = encapsulate([files.jpeg(np.zeros((4000, 4000), np.uint8))] * 6)
NO_JPEG, OUTSIDE = encapsulate([b"DOE JANE" * 99] * 6), files.region(RegionLocationMinX0=500)
HOSTILE = [
    ({"NumberOfFrames": 10**9}, "declares 1000000000 frames"),
    ({"NumberOfFrames": 60}, "truncated: 6 of 60 frames"),
    ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels; at most"),
    ({"Rows": 0}, "no usable Rows"),
    ({"Rows": None}, "no usable Rows"),
    ({"PixelData": b"\x07" * 1000}, "1000 bytes are no whole number of frames"),
    ({"PixelRepresentation": 1}, "are signed"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette is missing"),
    ({"PhotometricInterpretation": "DOE JANE"}, "an unknown one"),
    ({"BitsStored": 0}, "no usable BitsStored"),
    ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits in 32"),
    ({"BurnedInAnnotation": "YES"}, "text is burned into the pixels"),
    ({"SequenceOfUltrasoundRegions": [OUTSIDE]}, "outside of its image"),
    ({"syntax": JPEG, "PixelData": NO_JPEG}, "no frame can be decoded"),
    ({"syntax": JPEG, "PixelData": LARGE_JPEG}, "not of the size in the header"),
    ({"syntax": uid.JPEGLosslessSV1, "PixelData": NO_JPEG}, "holds pixels as JPEG Lossless"),
]


@pytest.mark.parametrize(("elements", "cause"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_refused(elements, cause, tmp_path, decoder):
    assert_refused(decoder, files.write(tmp_path / "a.dcm", files.fan(), **elements), cause)


def test_an_unknown_syntax_is_not_quoted_and_a_deflated_file_not_inflated(tmp_path, decoder):
    path = files.write(tmp_path / "a.dcm", files.fan(), syntax=JPEG)
    path.write_bytes(path.read_bytes().replace(JPEG.encode(), b"1.2.840.10008.DOE.9.99"))
    assert_refused(decoder, path, "an unknown transfer syntax")
    zeros, syntax = np.zeros((200, 500, 500), np.uint8), uid.DeflatedExplicitVRLittleEndian
    path = files.write(tmp_path / "bomb.dcm", zeros, syntax=syntax)
    assert path.stat().st_size < 100_000
    assert_refused(decoder, path, "holds pixels as Deflated")


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [*LITTLE, uid.RLELossless, JPEG])
def test_damage_anywhere_is_refused_or_costs_pixels_only(syntax, tmp_path, decoder):
    path = files.write(tmp_path / "a.dcm", files.fan(2), syntax=syntax)
    sound, rng, reasons = path.read_bytes(), np.random.default_rng(0), []
    for turn in range(30):
        content = bytearray(sound)
        for index in rng.integers(0, min(1200, len(sound)) if turn % 2 else len(sound), 4):
            content[index] = rng.integers(256)
        path.write_bytes(content[: rng.integers(200, len(sound))] if turn % 3 == 0 else content)
        try:
            decoder.decode(path)
        except DecodeError as error:
            reasons.append(str(error))
    assert len(reasons) > 5
    assert_nameless("".join(reasons))
