"""Frames in every layout and encapsulation; damage and wrong counts are never silent."""

import re

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended

from lus_ray.data.decoding.jpeg_damage import check_jpeg
from lus_ray.errors import DecodeError
from tests.data.decoding import dicom_files as files
from tests.data.decoding.dicom_files import jpeg

JPEG, BIG = uid.JPEGBaseline8Bit, uid.ExplicitVRBigEndian
FAN = files.fan(3)
YBR = np.stack([FAN, np.full_like(FAN, 90), np.full_like(FAN, 200)], -1)
ODD = FAN[:, :95, :127]
HALVED = np.stack([FAN[..., ::2], FAN[..., 1::2], YBR[..., ::2, 1], YBR[..., ::2, 2]], -1)
"""Two lumas and their common chroma, as uncompressed YBR_FULL_422 stores them."""
SMOOTH = np.zeros((3, 64, 64), np.uint8)
SMOOTH[:, 16:48, 16:48] = np.linspace(60, 180, 32, dtype=np.uint8)
SMOOTH[1] = SMOOTH[1, ::-1, ::-1]
JPEGS = [jpeg(frame) for frame in SMOOTH]
JPEG_2000 = jpeg((SMOOTH[0].astype(np.uint16) << 8), kind="JPEG2000", no_jp2=True)
PIECES = [content[at : at + 300] for content in JPEGS for at in range(0, len(content), 300)]
EXTENDED = dict(
    zip(("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        encapsulate_extended(JPEGS), strict=True)
)  # fmt: skip


def in_planes(frames):
    return {"PixelData": frames.transpose(0, 3, 1, 2).tobytes(), "PlanarConfiguration": 1}


def ybr(subsampling="", **elements):
    return {"PhotometricInterpretation": f"YBR_FULL{subsampling}"} | elements


LAYOUTS = {
    "422": (YBR, FAN, ybr("_422", PixelData=HALVED.tobytes())),
    "422 that is full": (YBR, FAN, ybr("_422")),
    "YBR": (YBR, FAN, ybr()),
    "YBR in planes": (YBR, FAN, ybr(**in_planes(YBR))),
    "YBR, RLE": (YBR, FAN, ybr(syntax=uid.RLELossless)),
    "RGB in planes": (FAN[..., None].repeat(3, 3), FAN, in_planes(FAN[..., None].repeat(3, 3))),
    "RGB, 16 bits, RLE": (
        FAN[..., None].repeat(3, 3).astype(np.uint16) << 8, FAN, {"syntax": uid.RLELossless},
    ),
    "odd": (ODD, ODD, {}),
    "odd in big-endian words": (ODD, ODD, {"syntax": BIG, "PixelData": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_its_luma(name, tmp_path, decoder):
    frames, wanted, elements = LAYOUTS[name]
    if "words" in name:
        content = frames.tobytes() + b"\0"
        elements = elements | {"PixelData": np.frombuffer(content, "<u2").byteswap().tobytes()}
    path = files.write(tmp_path / "a.dcm", frames, **elements)
    if "words" in name:
        path.write_bytes(path.read_bytes().replace(b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW"))
    assert np.array_equal(decoder.decode(path).frames, wanted)


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelData": encapsulate(JPEGS)},
        {"PixelData": encapsulate(JPEGS, has_bot=False)},
        {"PixelData": encapsulate(PIECES, has_bot=False)},
        {"PixelData": encapsulate(JPEGS, fragments_per_frame=3)},
        EXTENDED,
    ],
    ids=["table", "no table", "pieces", "pieces with table", "extended table"],
)
def test_frames_begin_where_an_image_begins(elements, tmp_path, decoder):
    path = files.write(tmp_path / "a.dcm", SMOOTH, syntax=JPEG, **elements)
    assert np.abs(decoder.decode(path).frames.astype(int) - SMOOTH).max() < 12


def damage(content, at=0.7, length=40):
    start = int(at * len(content))
    return content[:start] + b"\x55" * length + content[start + length :]


BROKEN = damage(JPEGS[1])
COUNTS = [
    ({"NumberOfFrames": 2}, r"holds 1 more frames than its header declares \(2\)"),
    ({"NumberOfFrames": 0}, r"2 more frames than its header declares \(1\)"),
    ({"syntax": JPEG, "NumberOfFrames": 2}, r"more frames than its header declares \(2\)"),
    ({"syntax": JPEG, "NumberOfFrames": 1, "PixelData": encapsulate(JPEGS, has_bot=False)},
     r"more frames than its header declares \(1\)"),
    ({"syntax": JPEG, "PixelData": encapsulate(JPEGS[:1])}, "1 of 3 frames decode"),
    ({"syntax": JPEG, "PixelData": encapsulate([BROKEN, BROKEN, JPEGS[2]])},
     "damaged: frames 0-1 of 3"),
    ({"PixelData": encapsulate(JPEGS)}, "no whole number of frames"),
]  # fmt: skip


@pytest.mark.parametrize(("elements", "cause"), COUNTS, ids=range(len(COUNTS)))
def test_a_wrong_count_or_many_damaged_frames_are_refused(elements, cause, tmp_path, decoder):
    path = files.write(tmp_path / "a.dcm", SMOOTH, **elements)
    with pytest.raises(DecodeError, match=cause):
        decoder.decode(path)


@pytest.mark.parametrize("count", [0, ""])
def test_no_number_of_frames_is_one(count, tmp_path, decoder):
    decoded = decoder.decode(files.write(tmp_path / "a.dcm", FAN[:1], NumberOfFrames=count))
    assert np.array_equal(decoded.frames, FAN[:1])
    assert "no number of frames" in decoded.notes[0]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (BROKEN, "a JPEG is damaged"),
        (JPEGS[1][:-400], "damaged"),
        (jpeg(SMOOTH[0, :32]), "not of the size"),
    ],
    ids=["codes", "cut", "size"],
)
def test_a_damaged_frame_is_removed_by_its_number(content, cause, tmp_path, decoder):
    contents = encapsulate([JPEGS[0], content, JPEGS[2]])
    path = files.write(tmp_path / "a.dcm", SMOOTH, syntax=JPEG, PixelData=contents)
    decoded = decoder.decode(path)
    assert np.abs(decoded.frames.astype(int) - SMOOTH[[0, 2]]).max() < 12
    assert decoded.notes[-1].startswith(
        "repaired: removed frame 1 of 3, counted from 0, as damaged"
    )
    assert cause in decoded.notes[-1]


def test_data_that_remain_after_a_jpeg_are_damage():
    content = jpeg(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    with pytest.raises(DecodeError, match="data remain"):
        check_jpeg(content[:-2] + bytes(400) + content[-2:])


def test_sound_jpegs_of_any_content_are_not_taken_for_damaged():
    rng = np.random.default_rng(0)
    for side in (1, 7, 8, 40, 129):
        noise = rng.integers(0, 256, (side, 3 * side, 3), dtype=np.uint8)
        for frame in (noise, noise[..., 0], np.zeros_like(noise), np.zeros_like(noise[..., 0])):
            check_jpeg(jpeg(frame))


def test_a_damaged_run_length_is_noticed(tmp_path, decoder):
    """A run that is too long leaves data behind the image, one that is too short lacks some."""
    path = files.write(
        tmp_path / "a.dcm", np.full((3, 64, 64), 9, np.uint8), syntax=uid.RLELossless
    )
    content, item = path.read_bytes(), b"\xfe\xff\x00\xe0"
    second = list(re.finditer(item, content))[2].end()  # after the offset table and a frame
    at = content.index(b"\xc1\x09", second)
    for length in (0xA0, 0xE0):
        path.write_bytes(content[:at] + bytes([length]) + content[at + 1 :])
        assert "removed frame 1 of 3" in decoder.decode(path).notes[-1]


def without_meta(content):
    """The data set alone, as it crosses the network."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_missing_or_foreign_preamble_does_not_matter(syntax, tmp_path, decoder):
    content = files.write(tmp_path / "a.dcm", FAN, syntax=syntax).read_bytes()
    for changed in (content[132:], without_meta(content), b"II*\0" + content[4:]):
        path = tmp_path / "file"
        path.write_bytes(changed)
        decoded = decoder.decode(path)
        assert np.array_equal(decoded.frames, FAN)
        assert decoded.format == "DICOM"


def with_icon(dataset):
    icon = Dataset()
    icon.Rows = icon.Columns = icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = bytes(64)
    dataset.IconImageSequence = [icon]


def without_pixels(dataset, **elements):
    del dataset.PixelData
    for name, value in elements.items():
        setattr(dataset, name, value)


FOREIGN = {
    "icon": (
        lambda dataset: (with_icon(dataset), without_pixels(dataset)),
        "pixel data are missing",
    ),
    "report": (
        lambda dataset: (
            without_pixels(dataset, SOPClassUID=uid.BasicTextSRStorage),
            delattr(dataset, "Rows"),
        ),
        r"holds no image \(Basic Text SR Storage\)",
    ),
    "private": (
        lambda dataset: (
            without_pixels(dataset),
            dataset.private_block(0x7FE1, "DOE", create=True).add_new(1, "OB", FAN.tobytes()),
        ),
        "pixel data are missing",
    ),
    "float": (lambda dataset: without_pixels(dataset, FloatPixelData=bytes(8)), "floating-point"),
    "volume": (
        lambda dataset: setattr(dataset, "SOPClassUID", uid.EnhancedUSVolumeStorage),
        "slices of a volume",
    ),
    "part": (
        lambda dataset: dataset.update(
            {"InConcatenationNumber": 2, "InConcatenationTotalNumber": 3}
        ),
        "part 2 of 3",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_without_a_whole_clip_is_refused_by_name(name, tmp_path, decoder):
    change, cause = FOREIGN[name]
    path = files.write(tmp_path / "a.dcm", FAN)
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    with pytest.raises(DecodeError, match=cause):
        decoder.decode(path)


def test_the_pixels_of_an_icon_are_not_those_of_the_clip(tmp_path, decoder):
    path = files.write(tmp_path / "a.dcm", FAN)
    dataset = dcmread(path)
    with_icon(dataset)
    dataset.save_as(path)
    assert np.array_equal(decoder.decode(path).frames, FAN)


@pytest.mark.parametrize(
    ("elements", "cause"),
    [
        (ybr("_422", PixelData=HALVED.tobytes(), PlanarConfiguration=1), "no defined order"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "YBR_PARTIAL_420"),
        ({"syntax": uid.MPEG4HP41, "PixelData": encapsulate(JPEGS)}, "MPEG-4 AVC"),
        ({"syntax": uid.JPEGLSLossless, "PixelData": encapsulate(JPEGS)}, "JPEG-LS"),
        *(({"Rows": rows}, "172800 bytes are no whole number of frames") for rows in (119, 121)),
        ({"PhotometricInterpretation": "YBR_RCT"}, "YBR_RCT cannot be stored as Explicit"),
        (
            {"syntax": uid.JPEG2000Lossless, "PixelData": encapsulate([JPEG_2000] * 3)}
            | {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
            "of more bits than in the header",
        ),
    ],
)
def test_other_kinds_are_refused_by_name(elements, cause, tmp_path, decoder):
    with pytest.raises(DecodeError, match=cause):
        decoder.decode(files.write(tmp_path / "a.dcm", YBR, **elements))
