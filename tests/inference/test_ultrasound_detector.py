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
from lus_ray.inference.ultrasound_detector import looks_like_ultrasound

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", params=["A", "B"])
def phantoms(request):
    made = phantom.clips(
        None, Ledger(), patients=6, clips=1, frames=6, size=160, domain=request.param, masks="none"
    )
    return [row["frames"] for row in made]


def text_page(paper: int, ink: int) -> np.ndarray:
    page = Image.new("L", (300, 300), paper)
    for line in range(24):
        ImageDraw.Draw(page).text((5, 12 * line), "lorem ipsum dolor sit amet " * 2, fill=ink)
    return np.asarray(page)[None]


def photographs() -> list[np.ndarray]:
    with get_sample_data("grace_hopper.jpg") as file:
        pictures = [np.asarray(Image.open(file).convert("L"))]
    pictures += [picture.mean(-1).astype(np.uint8) for picture in load_sample_images().images]
    return [picture[None] for picture in pictures]


OTHERS = {
    "white noise": RNG.integers(0, 256, (6, 128, 128), dtype=np.uint8),
    "grey noise": RNG.normal(110, 20, (6, 128, 128)).clip(0, 255).astype(np.uint8),
    "page": text_page(255, 0),
    "terminal": text_page(0, 230),
    "gradient": np.tile(np.linspace(0, 255, 200).astype(np.uint8)[:, None], (3, 1, 200)),
    "black": np.zeros((3, 64, 64), np.uint8),
    "white": np.full((3, 64, 64), 255, np.uint8),
    "narrow": RNG.integers(0, 256, (3, 2, 500), dtype=np.uint8),
}


def test_phantoms_look_like_ultrasound(phantoms):
    assert [looks_like_ultrasound(frames).likely for frames in phantoms] == [True] * 6


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_scanner_made_does_not_and_the_reasons_say_why(name):
    verdict = looks_like_ultrasound(OTHERS[name])
    assert not verdict.likely
    assert verdict.score < 0.5
    assert verdict.reasons


def test_photographs_do_not():
    assert [looks_like_ultrasound(photo).likely for photo in photographs()] == [False] * 3


def test_black_and_even_pictures_are_told_as_such():
    assert looks_like_ultrasound(OTHERS["black"]).reasons == ("the picture is black",)
    assert looks_like_ultrasound(OTHERS["white"]).reasons == ("the picture is of one grey",)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=40), elements=st.integers(0, 255)
    )
)
def test_any_clip_gets_a_verdict_whose_reasons_are_for_a_no(frames):
    verdict = looks_like_ultrasound(frames)
    assert 0 <= verdict.score <= 1
    assert verdict.likely == (verdict.score > 0.5)
    assert not (verdict.likely and verdict.reasons)


def test_a_clip_of_sixty_frames_takes_under_five_milliseconds():
    frames = RNG.integers(0, 256, (60, 350, 350), dtype=np.uint8)
    looks_like_ultrasound(frames)
    times = []
    for _ in range(9):
        start = time.process_time()
        looks_like_ultrasound(frames)
        times.append(time.process_time() - start)
    assert min(times) < 0.005


@pytest.mark.data
@pytest.mark.slow
def test_real_clips_do(shared_data):
    """Every tenth of COVID-BLUES, and the moving ones of POCUS: nine of ten at least."""
    likely = []
    paths = sorted((shared_data / "covid_blues" / "lus_videos").glob("*.mp4"))[::10]
    paths += sorted((shared_data / "pocovid" / "pocus_videos" / "convex").glob("*.*"))[::10]
    with FileDecoder() as decoder:
        for path in paths:
            likely.append(looks_like_ultrasound(decoder.decode(path).frames).likely)
    assert np.mean(likely) >= 0.9
