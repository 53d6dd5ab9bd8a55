import numpy as np
import pytest

from lus_ray.errors import DecodeError
from tests.data.decoding.still_files import RAMP, save


@pytest.mark.parametrize(
    ("after", "note"),
    [
        (b"SEFT" * 9, None),
        (save(RAMP[::2, ::2], "JPEG"), "skipped 1 previews or gain maps after the image"),
        (
            save(RAMP, "JPEG", comment=b"hdrgm:GainMapMax"),
            "skipped 1 previews or gain maps after the image",
        ),
        (b"\0\0\0\x18ftypmp42" + bytes(8088), "skipped a video of 8100 bytes after the image"),
    ],
)
def test_what_follows_a_jpeg_is_noted_and_no_frame(after, note, decode):
    decoded = decode(save(RAMP, "JPEG", quality=95) + after, "a.jpg")
    assert decoded.frames.shape == (1, 32, 64)
    assert np.abs(decoded.frames[0].astype(int) - RAMP).max() <= 4
    assert [text for text in decoded.notes if "skipped" in text] == [note] * bool(note)


@pytest.mark.parametrize("gap", [b"", bytes(100)])
def test_a_jpeg_of_several_images_is_refused_with_their_number(gap, decode):
    one = save(RAMP, "JPEG")
    for content in ((one + gap) * 3, save([RAMP] * 3, "MPO")):
        with pytest.raises(DecodeError, match="holds 3 images; save one per file"):
            decode(content, "a.jpg")
