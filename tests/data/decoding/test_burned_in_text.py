import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.data.decoding.burned_in_text import Extremes, count_bright_blocks
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest import phantom
from lus_ray.errors import DecodeError
from tests.data.decoding import dicom_files as parts


def count_blocks(frames: np.ndarray, region: tuple[int, int, int, int] | None = None) -> int:
    extremes = Extremes()
    for frame in frames:
        extremes.add(frame)
    return count_bright_blocks(extremes.brightest, extremes.darkest, region=region)


def test_a_fan_a_dot_and_text_inside_of_the_fan_do_not_count_as_text():
    dotted = parts.fan()
    dotted[:, 5:8, 5:8] = 255
    inside = parts.with_text(parts.fan(), at=(60, 70))
    for frames in (parts.fan(), dotted, inside, np.zeros((3, 64, 64), np.uint8)):
        assert count_blocks(frames) == 0
    assert count_blocks(parts.fan(), parts.REGION) == 0


@settings(max_examples=40)
@given(
    text=st.text("ABCDEFGHKLMNOPRSTUVXYZ0123456789", min_size=3, max_size=12),
    x=st.integers(2, 90),
    y=st.sampled_from([0, 2, 4, 106, 108]),
    level=st.integers(90, 255),
)
@pytest.mark.slow
def test_text_above_and_below_the_fan_counts(text, x, y, level):
    letters = parts.with_text(np.zeros((1, 120, 160), np.uint8), text, at=(x, y))
    frames = np.maximum(parts.fan(), np.minimum(letters, level))
    assert count_blocks(frames) > 0
    assert count_blocks(frames, parts.REGION) > 0


def test_a_clock_counts_and_a_page_that_is_not_black_does_not():
    frames = parts.fan()
    frames[3] = parts.with_text(frames[3:4], "10:11:12")[0]
    assert count_blocks(frames) > 0
    assert count_blocks(np.maximum(parts.fan(), 60)) == 0
    assert count_blocks(parts.with_text(np.maximum(parts.fan(), 60))) > 0


@pytest.mark.slow
def test_phantoms_show_no_text():
    made = phantom.clips(patients=4, clips=1, frames=4, size=128, domain="A,B")
    assert [row["clip"] for row in made if count_blocks(row["frames"])] == []


@pytest.mark.slow
@pytest.mark.parametrize("region", [None, parts.REGION])
def test_a_file_with_text_is_refused_unless_allowed(region, tmp_path, decoder):
    regions, text = region and [parts.region()], parts.with_text(parts.fan())
    path = parts.write(tmp_path / "a.dcm", text, SequenceOfUltrasoundRegions=regions)
    with pytest.raises(DecodeError, match="bright pixels outside of the fan"):
        decoder.decode(path)
    allowed = decoder.decode(path, allow_text=True)
    assert f"were allowed; {'cropped' if region else 'kept'}" in allowed.notes[-1]
    if region:
        top, left, bottom, right = region
        assert np.array_equal(allowed.frames, parts.fan()[:, top:bottom, left:right])


@pytest.mark.data
@pytest.mark.slow
def test_real_clips_are_clean_and_text_over_them_counts(shared_data):
    with FileDecoder() as decoder:
        for path in sorted((shared_data / "covid_blues" / "lus_videos").glob("*.mp4"))[::25]:
            frames = decoder.decode(path).frames[::5]
            assert count_blocks(frames) == 0, path.name
            page = np.pad(frames, ((0, 0), (40, 0), (0, 0)))
            assert count_blocks(parts.with_text(page, at=(5, 5))) > 0, path.name
