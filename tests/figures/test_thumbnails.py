"""Thumbnails: outlines where the edge of a mask is, one frame whatever the arms, and few bytes."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lus_ray import figures
from lus_ray.figures.thumbnails import GREYS, SIDE
from tests.figures.test_figures import SEEN_BY, lab, linear

FRAME = (np.arange(12 * 16) % 251).astype(np.uint8).reshape(12, 16)
EMPTY = np.zeros(FRAME.shape, bool)


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + height, left : left + width] = True
    return mask


def corners(svg: str, name: str = "expert") -> list[np.ndarray]:
    """Corners (x, y) in pixels of the frame of each closed line of an outline."""
    (data,) = re.findall(rf'id="{name}"[^>]* d="([^"]*)"', svg)
    found = []
    for line in data.removesuffix("z").split("z"):
        numbers = [int(text) for text in re.findall(r"-?\d+", line)]
        found.append(np.cumsum(np.reshape(numbers, (-1, 2)), axis=0) / 2)
    return found


def area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def images(svg: str) -> list[np.ndarray]:
    packed = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in packed]


def texts(svg: str) -> list[str]:
    return [text for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def test_a_single_pixel_is_outlined_by_four_points_around_its_centre() -> None:
    (points,) = corners(figures.draw_segmentations(FRAME, rectangle(2, 3, 1, 1), {}))
    assert set(map(tuple, points.tolist())) == {(3, 2.5), (4, 2.5), (3.5, 2), (3.5, 3)}


@given(st.integers(0, 7), st.integers(0, 9), st.integers(2, 5), st.integers(2, 6))
def test_a_rectangle_has_eight_corners_and_its_area_less_half_a_pixel(
    top: int, left: int, height: int, width: int
) -> None:
    (points,) = corners(figures.draw_segmentations(FRAME, rectangle(top, left, height, width), {}))
    assert len(points) == 8
    assert area(points) == height * width - 0.5
    assert points.min(axis=0).tolist() == [left, top]
    assert points.max(axis=0).tolist() == [left + width, top + height]


def test_two_islands_are_two_lines_and_a_hole_is_another() -> None:
    mask = rectangle(1, 1, 5, 5) | rectangle(8, 10, 2, 2)
    mask[3, 3] = False
    assert len(corners(figures.draw_segmentations(FRAME, mask, {}))) == 3


def test_an_empty_mask_has_no_outline() -> None:
    svg = figures.draw_segmentations(FRAME, EMPTY, {"unet": rectangle(1, 1, 4, 4)})
    assert figures.EXPERT[0] not in svg
    assert svg.count(figures.ARM[0]) == 1
    assert figures.ARM[0] not in figures.draw_segmentations(FRAME, EMPTY, {"unet": EMPTY})


def test_the_frame_and_the_expert_are_there_once_whatever_the_arms() -> None:
    said = {f"arm {k}": rectangle(k, k, 3, 3) for k in range(5)}
    svg = figures.draw_segmentations(FRAME, rectangle(2, 2, 4, 4), said)
    assert (len(images(svg)), svg.count('id="expert"'), svg.count('href="#frame"')) == (1, 1, 5)
    for k in range(5):
        assert corners(svg, f"arm{k}")[0].min(axis=0).tolist() == [k, k]


def test_arms_are_named_where_there_are_several_and_alone_they_are_not() -> None:
    frame, nothing = np.zeros((96, 96), np.uint8), np.zeros((96, 96), bool)
    several = figures.draw_segmentations(frame, nothing, {"unet": nothing, "<sifa>": nothing})
    assert texts(several) == ["unet", "<sifa>"]
    assert texts(figures.draw_segmentations(frame, nothing, {"unet": nothing})) == []
    assert texts(figures.draw_segmentations(frame, nothing, {}, title="clip")) == ["clip"]


def test_the_frame_is_within_half_a_step_of_its_grey() -> None:
    (image,) = images(figures.draw_segmentations(FRAME, EMPTY, {}))
    assert image.shape == FRAME.shape
    assert np.abs(image.astype(int) - FRAME).max() <= 255 / (GREYS - 1) / 2 + 1
    assert len(np.unique(image)) <= GREYS


def test_a_large_frame_is_thinned_and_its_outline_is_not() -> None:
    frame = np.zeros((600, 800), np.uint8)
    mask = np.zeros(frame.shape, bool)
    mask[100:301, 200:401] = True
    svg = figures.draw_segmentations(frame, mask, {})
    (image,) = images(svg)
    assert image.shape == (120, SIDE)
    (points,) = corners(svg)
    assert area(points) == 201 * 201 - 0.5
    assert "scale(0.1 0.1)" in svg  # two units a pixel, 800 pixels on 160


def test_the_picture_of_pure_noise_is_no_larger_than_32_kib() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    assert len(figures.draw_segmentations(noise, np.zeros(noise.shape, bool), {})) < 32 << 10


def test_a_mask_of_another_size_is_refused(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"sifa: \(3, 16\) over a picture of \(12, 16\)"):
        figures.draw_segmentations(FRAME, EMPTY, {"sifa": EMPTY[:3]})


def test_a_translation_shows_its_pictures_in_order_below_their_names() -> None:
    row = [("covid frame", FRAME), ("as cap", 255 - FRAME), ("back", FRAME)]
    svg = figures.draw_translations([row, [("cap frame", FRAME[:6])]])
    shown = images(svg)
    assert [image.shape for image in shown] == [(12, 16), (12, 16), (12, 16), (6, 16)]
    assert np.abs(shown[1].astype(int) + shown[0] - 255).max() <= 1
    wide = figures.draw_translations([[(name, np.zeros((96, 96), np.uint8)) for name, _ in row]])
    assert texts(wide) == ["covid frame", "as cap", "back"]


@pytest.mark.parametrize("matrix", SEEN_BY.values(), ids=SEEN_BY)
def test_expert_and_arm_are_told_apart_by_every_reader(matrix: np.ndarray) -> None:
    one, other = (lab(matrix @ linear(colour)) for colour, _ in (figures.EXPERT, figures.ARM))
    assert np.linalg.norm(one - other) > 60
    assert figures.EXPERT[1] != figures.ARM[1]
