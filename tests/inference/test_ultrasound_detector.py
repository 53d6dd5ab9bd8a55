"""Phantoms and real clips look like ultrasound; photographs, text, screens and noise do not."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest import phantom
from lus_ray.data.ledger import Ledger
from lus_ray.inference.ultrasound_detector import detect_ultrasound

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", params=["A", "B"])
def phantoms(request):
    made = phantom.clips(
        None, Ledger(), patients=6, clips=1, frames=6, size=160, domain=request.param, masks="none",
        scanners="same",
    )  # fmt: skip
    return [row["frames"] for row in made]


def text_page(paper, ink):
    page = Image.new("L", (300, 300), paper)
    for line in range(24):
        ImageDraw.Draw(page).text((5, 12 * line), "lorem ipsum dolor sit amet " * 2, fill=ink)
    return np.asarray(page)[None]


def photograph():
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("L"))[None]


OTHERS = {
    "white noise": RNG.integers(0, 256, (6, 128, 128), dtype=np.uint8),
    "grey noise": RNG.normal(110, 20, (6, 128, 128)).clip(0, 255).astype(np.uint8),
    "page": text_page(255, 0),
    "terminal": text_page(0, 230),
    "gradient": np.tile(np.linspace(0, 255, 200).astype(np.uint8)[:, None], (3, 1, 200)),
    "black": np.zeros((3, 64, 64), np.uint8),
    "white": np.full((3, 64, 64), 255, np.uint8),
    "photograph": photograph(),
    **{f"photograph {n}": image.mean(-1, keepdims=True).astype(np.uint8).transpose(2, 0, 1)
       for n, image in enumerate(load_sample_images().images)},
    "narrow": RNG.integers(0, 256, (3, 2, 500), dtype=np.uint8),
}  # fmt: skip
EXPECTED = {"black": "the picture is black", "white": "the picture has a single grey value"}


def test_phantoms_look_like_ultrasound(phantoms):
    assert all(detect_ultrasound(frames).likely for frames in phantoms)


@pytest.mark.parametrize("name", OTHERS)
def test_other_pictures_do_not_and_reasons_say_why(name):
    detection = detect_ultrasound(OTHERS[name])
    assert not detection.likely
    assert detection.score < 0.5
    assert detection.reasons
    if name in EXPECTED:
        assert detection.reasons == (EXPECTED[name],)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=40), elements=st.integers(0, 255)
    )
)
def test_any_clip_gets_a_score_and_reasons_only_if_rejected(frames):
    detection = detect_ultrasound(frames)
    assert 0 <= detection.score <= 1
    assert detection.likely == (detection.score > 0.5)
    assert not (detection.likely and detection.reasons)


@pytest.mark.full
def test_a_clip_of_sixty_frames_takes_under_five_milliseconds():
    frames = RNG.integers(0, 256, (60, 350, 350), dtype=np.uint8)
    times = []
    for _ in range(9):
        start = time.process_time()
        detect_ultrasound(frames)
        times.append(time.process_time() - start)
    assert min(times) < 0.005


@pytest.mark.data
@pytest.mark.slow
def test_nine_of_ten_real_clips_look_like_ultrasound(shared_data):
    paths = sorted((shared_data / "covid_blues" / "lus_videos").glob("*.mp4"))[::25]
    paths += sorted((shared_data / "pocovid" / "pocus_videos" / "convex").glob("*.*"))[::25]
    with FileDecoder() as decoder:
        likely = [detect_ultrasound(decoder.decode(path).frames).likely for path in paths]
    assert np.mean(likely) >= 0.9
