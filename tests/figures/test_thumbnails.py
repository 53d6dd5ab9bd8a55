import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.figures import ARM, EXPERT, draw_image_rows, draw_segmentations
from lus_ray.figures.thumbnails import GREYS, SIDE
from tests.figures.svg import images, texts

FRAME = (np.arange(12 * 16) % 251).astype(np.uint8).reshape(12, 16)
EMPTY = np.zeros(FRAME.shape, bool)


def rectangle(top, left, height, width):
    mask = EMPTY.copy()
    mask[top : top + height, left : left + width] = True
    return mask


def corners(svg, name="expert"):
    """Corners (x, y) in pixels of the frame of each closed line of a contour."""
    (data,) = re.findall(rf'id="{name}"[^>]* d="([^"]*)"', svg)
    paths = (re.findall(r"-?\d+", line) for line in data.removesuffix("z").split("z"))
    return [np.cumsum(np.reshape([int(n) for n in path], (-1, 2)), axis=0) / 2 for path in paths]


def area(points):
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_contours_of_a_pixel_of_islands_with_a_hole_and_of_an_empty_mask():
    (points,) = corners(draw_segmentations(FRAME, rectangle(2, 3, 1, 1), {}))
    assert set(map(tuple, points.tolist())) == {(3, 2.5), (4, 2.5), (3.5, 2), (3.5, 3)}
    mask = rectangle(1, 1, 5, 5) | rectangle(8, 10, 2, 2)
    mask[3, 3] = False
    assert len(corners(draw_segmentations(FRAME, mask, {}))) == 3
    svg = draw_segmentations(FRAME, EMPTY, {"unet": rectangle(1, 1, 4, 4)})
    assert (EXPERT[0] in svg, svg.count(ARM[0])) == (False, 1)
    assert ARM[0] not in draw_segmentations(FRAME, EMPTY, {"unet": EMPTY})


@settings(max_examples=20)
@given(st.integers(0, 7), st.integers(0, 9), st.integers(2, 5), st.integers(2, 6))
def test_a_rectangle_has_eight_corners_and_its_area_less_half_a_pixel(top, left, height, width):
    (points,) = corners(draw_segmentations(FRAME, rectangle(top, left, height, width), {}))
    assert len(points) == 8
    assert area(points) == height * width - 0.5
    assert points.min(axis=0).tolist() == [left, top]
    assert points.max(axis=0).tolist() == [left + width, top + height]


def test_the_frame_and_the_expert_are_embedded_once_for_all_arms():
    arms = {f"arm {k}": rectangle(k, k, 3, 3) for k in range(5)}
    svg = draw_segmentations(FRAME, rectangle(2, 2, 4, 4), arms)
    assert (len(images(svg)), svg.count('id="expert"'), svg.count('href="#frame"')) == (1, 1, 5)
    for k in range(5):
        assert corners(svg, f"arm{k}")[0].min(axis=0).tolist() == [k, k]


def test_only_several_arms_are_named():
    frame, mask = np.zeros((96, 96), np.uint8), np.zeros((96, 96), bool)
    for names in (["unet", "<sifa>"], ["unet"]):
        svg = draw_segmentations(frame, mask, dict.fromkeys(names, mask))
        assert texts(svg) == (names if len(names) > 1 else [])
    assert texts(draw_segmentations(frame, mask, {}, title="clip")) == ["clip"]


def test_the_frame_is_within_half_a_step_of_its_grey_and_noise_stays_a_small_file():
    (image,) = images(draw_segmentations(FRAME, EMPTY, {}))
    assert np.abs(image.astype(int) - FRAME).max() <= 255 / (GREYS - 1) / 2 + 1
    assert len(np.unique(image)) <= GREYS
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    assert len(draw_segmentations(noise, np.zeros(noise.shape, bool), {})) < 32 << 10


def test_a_large_frame_is_thinned_out_and_its_contour_is_not():
    mask = np.zeros((600, 800), bool)
    mask[100:301, 200:401] = True
    svg = draw_segmentations(np.zeros(mask.shape, np.uint8), mask, {})
    assert images(svg)[0].shape == (120, SIDE)
    assert area(corners(svg)[0]) == 201 * 201 - 0.5
    assert "scale(0.1 0.1)" in svg  # two units a pixel, 800 pixels on 160


@pytest.mark.usefixtures("unchecked")
def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"sifa: \(3, 16\) over a frame of \(12, 16\)"):
        draw_segmentations(FRAME, EMPTY, {"sifa": EMPTY[:3]})


def test_a_translation_shows_its_images_in_order_below_their_names():
    row = [("covid frame", FRAME), ("as cap", 255 - FRAME), ("back", FRAME)]
    first, second, *rest = images(draw_image_rows([row, [("cap frame", FRAME[:6])]]))
    assert [image.shape for image in (first, second, *rest)] == [(12, 16)] * 3 + [(6, 16)]
    assert np.abs(second.astype(int) + first - 255).max() <= 1
    wide = draw_image_rows([[(name, np.zeros((96, 96), np.uint8)) for name, _ in row]])
    assert texts(wide) == ["covid frame", "as cap", "back"]
