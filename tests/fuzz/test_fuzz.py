import numpy as np
import pytest

from lus_ray.data.decoding.decoder import FileDecoder
from tests.fuzz.__main__ import known_seeds
from tests.fuzz.example import quick_ingests, run_example
from tests.fuzz.pictures import (
    EXACT,
    STILLS,
    SYNTAXES,
    VIDEOS,
    block_means,
    paint,
    read_bits,
    write,
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_ingests():
        yield


@pytest.fixture(scope="module")
def decoder():
    with FileDecoder() as shared:
        yield shared


@pytest.mark.slow
@pytest.mark.parametrize("seed", known_seeds())
def test_a_known_seed_breaks_no_invariant(seed, tmp_path):
    outcome, steps = run_example(seed, tmp_path)
    assert not outcome.failures, steps


@pytest.mark.parametrize("form", [*VIDEOS, *STILLS, *SYNTAXES, "gif"])
def test_a_picture_names_its_file_and_frames_in_every_format(form, decoder, tmp_path):
    picture = paint(0x5A, form, np.random.default_rng(0))
    write(picture, tmp_path / f"clip.{form}")
    frames = decoder.decode(tmp_path / f"clip.{form}").frames
    assert set(read_bits(frames, 0)) == {0x5A}
    assert read_bits(frames, 2) == list(range(len(picture.frames)))
    assert np.abs(block_means(frames) - block_means(picture.frames)).max() < 2
    assert form not in EXACT or np.array_equal(frames, picture.frames)
