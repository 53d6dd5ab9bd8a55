"""From stored values to grey: windows, lookup tables, palettes and bits beside the stored ones."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from lus_ray.errors import DecodeError
from tests.data.decoding import dicom_files as files

FAN = files.fan()
DEEP = FAN.astype(np.uint16)
SIGNED = {"PixelRepresentation": 1}
FULL = {"WindowCenter": "128", "WindowWidth": "256"}
BIG = uid.ExplicitVRBigEndian


@pytest.fixture
def decode(tmp_path, decoder):
    """`decode(frames, **elements)` writes a file and decodes it."""
    return lambda frames, **elements: decoder.decode(
        files.write(tmp_path / "a.dcm", frames, **elements)
    )


def lut(entries, *, first=0, bits=8, order="<"):
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table.add_new("LUTData", "OW", np.asarray(entries, f"{order}u2").tobytes())
    return [table]


def palette(entries, *, bits=16, segments=None, order="<"):
    """Equal tables for red, green and blue."""
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        elements[f"{name}Descriptor"] = [len(entries), 0, bits]
        kind = "u1" if bits == 8 else f"{order}u2"
        data = np.asarray(entries if segments is None else segments, kind).tobytes()
        elements[f"{'' if segments is None else 'Segmented'}{name}Data"] = data
    return elements


SAME = {
    "linear": (DEEP, FULL),
    "exact": (DEEP, {"WindowCenter": "127.5", "WindowWidth": "255"}),
    "first of several": (DEEP, {"WindowCenter": ["128", "9"], "WindowWidth": ["256", "9"]}),
    "rescaled": (DEEP, FULL | {"WindowCenter": "28", "RescaleSlope": 1, "RescaleIntercept": -100}),
    "inverted": (255 - DEEP, FULL | {"PhotometricInterpretation": "MONOCHROME1"}),
    "signed": (DEEP.astype(np.int16) - 128, FULL | SIGNED | {"WindowCenter": "0"}),
    "signed 12 bits": (
        DEEP.astype(np.int16) - 128,
        FULL | SIGNED | {"WindowCenter": "0", "BitsStored": 12, "HighBit": 11},
    ),
    "VOI LUT": (DEEP, {"VOILUTSequence": lut(range(256))}),
    "VOI LUT, 16 bits": (DEEP + 5, {"VOILUTSequence": lut(np.arange(256) * 257, first=5, bits=16)}),
    "VOI LUT, big endian": (DEEP, {"VOILUTSequence": lut(range(256), order=">"), "syntax": BIG}),
    "modality LUT": (DEEP, {"ModalityLUTSequence": lut(range(256))}),
    "high bit": (DEEP << 8, {"BitsStored": 8, "HighBit": 15}),
    "overlay bits": (DEEP << 4 | 0x8000, {"BitsStored": 12, "HighBit": 11}),
    "overlay bits, 8 stored": (DEEP | 0x100, {"BitsStored": 8, "HighBit": 7}),
    "palette": (FAN, palette(np.arange(256) * 257)),
    "palette of small entries": (FAN, palette(range(256))),
    "palette, 8 bits": (FAN, palette(range(256), bits=8)),
    "palette, big endian": (FAN, palette(np.arange(256) * 257, order=">") | {"syntax": BIG}),
    "palette, segmented": (FAN, palette(range(256), segments=[0, 1, 0, 1, 255, 65535])),
    "palette, RLE": (FAN, palette(np.arange(256) * 257) | {"syntax": uid.RLELossless}),
}


@pytest.mark.parametrize("name", SAME)
def test_every_way_to_store_a_grey_gives_that_grey(name, decode):
    frames, elements = SAME[name]
    assert np.array_equal(decode(frames, **elements).frames, FAN)


def test_a_window_that_changes_8_bits_is_noted_and_the_identity_is_not(decode):
    windowed = decode(FAN, WindowCenter="60.5", WindowWidth="81")
    wanted = np.clip((FAN.astype(float) - 20) / 80, 0, 1) * 255
    assert np.abs(windowed.frames - wanted).max() < 1
    assert windowed.notes[0] == "its window (center 60.5, width 81) was applied"
    assert "window" not in repr(decode(FAN, **FULL).notes)
    assert "width of 0; ignored" in decode(FAN, WindowCenter="1", WindowWidth="0").notes[0]


def test_a_sigmoid_window_has_its_middle_at_its_center(decode):
    steps = np.zeros((1, 64, 64), np.uint8)
    steps[:, 16:48, 16:48] = 100
    steps[:, 24:40, 24:40] = 120
    decoded = decode(steps, WindowCenter="100", WindowWidth="40", VOILUTFunction="SIGMOID")
    assert decoded.frames[0, [0, 16, 32], [0, 16, 32]].tolist() == [0, 127, 224]


def test_a_palette_of_colours_gives_their_luma(decode):
    elements = palette(range(256), bits=8)
    elements["GreenPaletteColorLookupTableData"] = bytes(256)
    elements["BluePaletteColorLookupTableData"] = bytes(256)
    assert np.array_equal(decode(FAN, **elements).frames, np.rint(FAN * np.float32(0.299)))


REFUSED = [
    (DEEP, {}, "span 0 to 199 of 0 to 65535"),
    (DEEP, {"BitsStored": 12, "HighBit": 11}, "span 0 to 199 of 0 to 4095"),
    (255 - DEEP, {"PhotometricInterpretation": "MONOCHROME1"}, "of 0 to 65535"),
    (np.repeat(DEEP[..., None], 3, 3), {}, "of 0 to 65535"),
    (DEEP, {"WindowCenter": "32768", "WindowWidth": "65536"}, "0 to 199 only 0 of 256 greys"),
    (DEEP, FULL | {"VOILUTFunction": "DOE"}, "an unknown one"),
    (DEEP.astype(np.int16), SIGNED, "no window"),
    (DEEP, {"RescaleSlope": -1}, "rescale slope"),
    (DEEP, {"VOILUTSequence": [Dataset()]}, "damaged"),
    (DEEP, {"BitsStored": 8, "HighBit": 3}, "cannot end at bit 3"),
    (FAN, palette(range(256)) | {"PhotometricInterpretation": "MONOCHROME2",
                                 "PixelPresentation": "COLOR"}, "supplemental palette"),
]  # fmt: skip


@pytest.mark.parametrize(("frames", "elements", "cause"), REFUSED, ids=range(len(REFUSED)))
def test_values_without_a_known_black_and_white_are_refused(frames, elements, cause, decode):
    with pytest.raises(DecodeError, match=cause):
        decode(frames, **elements)
