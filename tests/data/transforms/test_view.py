"""Views: equally spaced frames and a resize that every part of the platform shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lus_ray.data.masks import resize_masks
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import ArmError


def test_fifteen_of_ninety_frames_are_six_apart():
    assert View().frame_indices(90, 0.0).tolist() == list(range(0, 90, 6))
    assert View().frame_indices(90, 0.99)[0] == 5


def test_a_short_clip_repeats_frames_in_order():
    assert View(num_frames=4).frame_indices(2, 0.5).tolist() == [0, 0, 1, 1]
    assert View(num_frames=3).frame_indices(1, 0.9).tolist() == [0, 0, 0]


@given(st.integers(1, 300), st.integers(1, 40), st.floats(0, 1, exclude_max=True))
def test_indices_rise_and_stay_inside_the_clip(num_available, num_frames, start):
    indices = View(num_frames=num_frames).frame_indices(num_available, start)
    assert len(indices) == num_frames
    assert np.all(np.diff(indices) >= 0)
    assert indices[0] >= 0
    assert indices[-1] < num_available


def test_evaluation_samples_start_in_the_middle_of_quarters_of_the_first_interval():
    frames = np.arange(80, dtype=np.uint8)[:, None, None]
    samples = View(num_frames=10, height=1, width=1).samples(frames)
    assert samples[:, 0, 0, 0].tolist() == [1, 3, 5, 7]


def test_a_training_sample_is_the_same_for_the_same_seed():
    view = View(num_frames=5)
    frames = np.random.default_rng(0).integers(0, 256, (50, 4, 4), np.uint8)
    one = view.sample(frames, np.random.default_rng(3))
    assert np.array_equal(one, view.sample(frames, np.random.default_rng(3)))


def test_halving_a_checkerboard_gives_its_mean():
    frames = np.zeros((1, 64, 64), np.uint8)
    frames[:, ::2, ::2] = frames[:, 1::2, 1::2] = 200
    small = View(height=32, width=32).resize(frames)
    assert small.shape == (1, 32, 32)
    assert small[0, 8:-8, 8:-8] == pytest.approx(100, abs=2)


@pytest.mark.parametrize("bicubic", [False, True])
def test_frames_of_the_right_size_are_not_touched(bicubic):
    frames = np.zeros((2, 224, 224), np.uint8)
    assert View(bicubic=bicubic).resize(frames) is frames


@pytest.mark.parametrize("shape", [(20, 26), (50, 65), (100, 140), (160, 208)])
@pytest.mark.parametrize("bicubic", [False, True])
def test_frames_are_resized_as_pillow_does_it_and_cut_off_at_black_and_white(shape, bicubic):
    frames = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    frames[1] = np.where(frames[1] > 127, 255, 0)  # overshoots at every edge
    found = View(height=50, width=65, bicubic=bicubic).resize(frames).astype(int)
    kind = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    for one, frame in zip(found, frames, strict=True):
        assert abs(one - np.asarray(Image.fromarray(frame).resize((65, 50), kind))).max() <= 1


def test_a_bicubic_view_pads_first_and_leaves_masks_alone():
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 40), np.uint8)
    linear, cubic = (View(height=20, width=26, aspect=1.3, bicubic=b) for b in (False, True))
    padded = cubic.pad(frames)
    assert (cubic.resize(frames) == View(height=20, width=26, bicubic=True).resize(padded)).all()
    assert (cubic.resize(frames) != linear.resize(frames)).any()
    assert (cubic.resize_masks(frames) == linear.resize_masks(frames)).all()


def test_a_square_gets_black_left_and_right_until_its_shape_is_right():
    white = np.full((2, 10, 10), 200, np.uint8)
    wide = View(height=10, width=20, aspect=2).resize(white)
    assert wide[1, 4].tolist() == [0] * 5 + [200] * 10 + [0] * 5
    flat = View(height=20, width=10, aspect=0.5).resize(white)
    assert flat[1, :, 4].tolist() == [0] * 5 + [200] * 10 + [0] * 5


def test_a_pixel_too_many_goes_right_or_below():
    white = np.full((1, 2, 3), 200, np.uint8)
    assert View(height=3, width=3, aspect=1).resize(white)[0, :, 0].tolist() == [200, 200, 0]
    turned = white.transpose(0, 2, 1)
    assert View(height=3, width=3, aspect=1).resize(turned)[0, 0].tolist() == [200, 200, 0]


def test_a_picture_keeps_its_proportions_and_a_mask_its_place_in_it():
    image = np.zeros((1, 100, 100), np.uint8)
    image[:, 20:60, 30:70] = 200  # a square in a square, in a view of 200 x 260
    view = View(height=200, width=260, aspect=1.3)
    rows, columns = np.nonzero(view.resize_masks(image // 200)[0])
    assert (rows.min(), rows.max() + 1) == (40, 120)
    assert (columns.min(), columns.max() + 1) == (2 * (15 + 30), 2 * (15 + 70))
    bright = view.resize(image)[0] > 100
    assert np.array_equal(bright, view.resize_masks(image // 200)[0] == 1)


@pytest.mark.parametrize("shape", [(200, 260), (40, 52), (96, 125)])
def test_a_picture_that_has_the_shape_is_not_padded(shape):
    frames = np.zeros((1, *shape), np.uint8)
    assert View(height=shape[0], width=shape[1], aspect=1.3).resize(frames) is frames


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    aspect=st.one_of(st.none(), st.floats(0.2, 5)),
)
def test_padding_alone_never_cuts_and_reaches_the_shape_to_a_pixel(height, width, aspect):
    ids = np.full((1, height, width), 3, np.uint8)
    high = max(height, int(width / aspect)) if aspect else height
    wide = max(width, int(height * aspect)) if aspect else width
    padded = View(height=high, width=wide, aspect=aspect).resize_masks(ids)
    assert padded.shape == (1, high, wide)
    assert np.count_nonzero(padded == 3) == height * width
    assert np.count_nonzero(padded) == height * width
    if aspect:
        assert wide <= high * aspect + 1 + aspect
        assert high <= wide / aspect + 1 + 1 / aspect


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 40))
def test_masks_of_a_view_without_a_shape_are_resized_as_ever(height, width, size):
    ids = np.random.default_rng(0).integers(0, 7, (2, height, width), np.uint8)
    assert np.array_equal(View(height=size, width=9).resize_masks(ids), resize_masks(ids, size, 9))


@given(
    height=st.integers(20, 60),
    width=st.integers(20, 60),
    aspect=st.floats(0.5, 2),
    size=st.integers(20, 60),
)
def test_padded_images_and_masks_stay_on_one_grid(height, width, aspect, size):
    image = np.full((1, height, width), 200, np.uint8)
    view = View(height=size, width=size, aspect=aspect)
    grey, ids = view.resize(image)[0] / 200, view.resize_masks(image // 200)[0]
    # The area of the picture, a side at a time: in pixels and parts of one, and in whole pixels.
    for axis in (0, 1):
        assert abs(grey.max(axis).sum() - ids.max(axis).sum()) <= 1.1
        middles = [np.average(np.arange(size), weights=p.max(axis)) for p in (grey, ids)]
        assert abs(middles[0] - middles[1]) <= 0.6


@pytest.mark.parametrize("aspect", [0.0, -1.3, float("nan"), float("inf")])
def test_a_shape_that_no_picture_has_is_refused(aspect):
    with pytest.raises(ArmError, match=r"aspect is .*; it needs width / height"):
        View(aspect=aspect)


def test_without_a_number_of_samples_every_frame_is_one():
    frames = np.arange(5, dtype=np.uint8)[:, None, None]
    view = View(num_frames=1, height=1, width=1, num_samples=0)
    assert view.is_per_frame
    assert not View().is_per_frame
    assert view.samples(frames)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert view.samples(frames[:1]).shape == (1, 1, 1, 1)


def test_a_number_of_samples_that_is_asked_for_stands_in_for_that_of_the_view():
    frames = np.arange(8, dtype=np.uint8)[:, None, None]
    assert len(View(num_frames=1, height=1, width=1, num_samples=0).samples(frames, 3)) == 3
    assert len(View(num_frames=1, height=1, width=1).samples(frames, 3)) == 3


def outputs(num_frames):
    return np.repeat(np.arange(num_frames, dtype=float)[:, None], 4, axis=1)


def test_a_track_keeps_the_middles_of_equal_parts():
    assert Track(max_frames=2).sample(outputs(8))[:, 0].tolist() == [2, 6]
    thirty_two = Track(max_frames=32).sample(outputs(320))[:, 0]
    assert thirty_two.tolist() == list(range(5, 320, 10))


def test_a_track_that_is_short_enough_is_kept_whole():
    assert np.array_equal(Track(max_frames=32).sample(outputs(32)), outputs(32))
    assert np.array_equal(Track(max_frames=32).sample(outputs(1)), outputs(1))
    assert np.array_equal(Track().sample(outputs(400)), outputs(400))


@given(st.integers(1, 400), st.integers(1, 40))
def test_a_track_keeps_as_many_frames_as_it_may_once_each_and_evenly(num_frames, most):
    kept = Track(max_frames=most).sample(outputs(num_frames))[:, 0]
    assert len(kept) == min(num_frames, most)
    steps = np.diff(kept)
    assert np.all(steps >= 1)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("num_frames", [1, 3, 50])
@pytest.mark.parametrize("view", [View(4, 6, 8, 2), View(1, 6, 8, 0, aspect=1.3)])
def test_samples_of_frames_are_those_of_all_frames_resized(view, num_frames):
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, 20, 30), np.uint8)
    assert (view.resize_samples(frames) == view.samples(view.resize(frames))).all()
