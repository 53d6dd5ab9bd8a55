import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from lus_ray.data.masks import resize_masks
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import ArmError

SIDES = st.integers(20, 60)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@given(st.integers(1, 300), st.integers(1, 40), st.floats(0, 1, exclude_max=True))
@example(90, 15, 0.0)
@example(2, 4, 0.5)  # frames of a short clip repeat
def test_frames_are_equally_spaced_inside_the_clip(num_available, num_frames, start):
    indices = View(num_frames=num_frames).frame_indices(num_available, start)
    exact = (start + np.arange(num_frames)) * num_available / num_frames
    assert len(indices) == num_frames
    assert np.all((indices <= exact) & (exact - 1 < indices + 1e-9))
    assert 0 <= indices[0] <= indices[-1] < num_available


@pytest.mark.parametrize(
    ("view", "num_available", "num_samples", "first"),
    [
        (View(10, 1, 1), 80, 0, [1, 3, 5, 7]),  # the middles of quarters of the first interval
        (View(1, 1, 1, 0), 5, 0, [0, 1, 2, 3, 4]),  # every frame is a sample
        (View(1, 1, 1, 0), 1, 0, [0]),
        (View(1, 1, 1, 0), 8, 3, [1, 4, 6]),
        (View(1, 1, 1), 8, 3, [1, 4, 6]),
    ],
)
def test_evaluation_samples_start_at_equal_distances(view, num_available, num_samples, first):
    frames = np.arange(num_available, dtype=np.uint8)[:, None, None]
    samples = view.samples(frames, num_samples)
    assert samples[:, 0, 0, 0].tolist() == first
    assert samples.shape[1] == view.num_frames
    assert view.is_per_frame == (view.num_samples == 0)


@pytest.mark.parametrize("num_frames", [1, 3, 50])
@pytest.mark.parametrize("view", [View(4, 6, 8, 2), View(1, 6, 8, 0, aspect=1.3)])
def test_samples_of_frames_are_those_of_all_frames_resized(view, num_frames):
    frames = noise(num_frames, 20, 30)
    assert (view.resize_samples(frames) == view.samples(view.resize(frames))).all()


def test_a_training_sample_is_the_same_for_the_same_seed():
    first, second = (View(5).sample(noise(50, 4, 4), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("height", "width", "aspect"),
    [(224, 224, None), (200, 260, 1.3), (40, 52, 1.3), (96, 125, 1.3)],
)
def test_frames_of_the_right_size_are_not_touched(height, width, aspect):
    frames = np.zeros((2, height, width), np.uint8)
    for bicubic in (False, True):
        view = View(height=height, width=width, aspect=aspect, bicubic=bicubic)
        assert view.resize(frames) is frames


@pytest.mark.parametrize("shape", [(20, 26), (50, 65), (100, 140), (160, 208)])
@pytest.mark.parametrize("bicubic", [False, True])
def test_frames_are_resized_as_pillow_does_it_and_clipped_at_black_and_white(shape, bicubic):
    frames = noise(2, *shape)
    frames[1] = np.where(frames[1] > 127, 255, 0)  # overshoots at every edge
    resized = View(height=50, width=65, bicubic=bicubic).resize(frames).astype(int)
    kind = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    expected = [np.asarray(Image.fromarray(frame).resize((65, 50), kind)) for frame in frames]
    assert abs(resized - np.stack(expected)).max() <= 1


def test_a_bicubic_view_pads_first_and_leaves_masks_alone():
    frames = noise(1, 40, 40)
    linear, cubic = (View(height=20, width=26, aspect=1.3, bicubic=b) for b in (False, True))
    padded = cubic.pad(frames)
    assert (cubic.resize(frames) == View(height=20, width=26, bicubic=True).resize(padded)).all()
    assert (cubic.resize(frames) != linear.resize(frames)).any()
    assert (cubic.resize_masks(frames) == linear.resize_masks(frames)).all()
    plain = View(height=20, width=26).resize_masks(frames)
    assert (plain == resize_masks(frames, 20, 26)).all()


@pytest.mark.parametrize(
    ("aspect", "shape", "rows", "columns"),
    [
        (2, (10, 10), (0, 0), (5, 5)),
        (0.5, (10, 10), (5, 5), (0, 0)),
        (1, (2, 3), (0, 1), (0, 0)),  # an odd one comes below or right
        (1, (3, 2), (0, 0), (0, 1)),
    ],
)
def test_an_image_gets_black_on_both_sides_until_its_shape_is_right(aspect, shape, rows, columns):
    white = np.full((2, *shape), 200, np.uint8)
    padded = View(aspect=aspect).pad(white)
    assert np.array_equal(padded, np.pad(white, ((0, 0), rows, columns)))


def test_an_image_keeps_its_proportions_and_a_mask_its_place_in_it():
    image = np.zeros((1, 100, 100), np.uint8)
    image[:, 20:60, 30:70] = 200  # a square in a square, in a view of 200 x 260
    view = View(height=200, width=260, aspect=1.3)
    mask = view.resize_masks(image // 200)[0]
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1) == (40, 120)
    assert (columns.min(), columns.max() + 1) == (2 * (15 + 30), 2 * (15 + 70))
    assert np.array_equal(view.resize(image)[0] > 100, mask == 1)


@given(st.integers(1, 60), st.integers(1, 60), st.none() | st.floats(0.2, 5))
def test_padding_alone_never_cuts_and_reaches_the_shape_to_a_pixel(height, width, aspect):
    ids = np.full((1, height, width), 3, np.uint8)
    high = max(height, int(width / aspect)) if aspect else height
    wide = max(width, int(height * aspect)) if aspect else width
    padded = View(height=high, width=wide, aspect=aspect).resize_masks(ids)
    assert padded.shape == (1, high, wide)
    assert np.count_nonzero(padded == 3) == np.count_nonzero(padded) == height * width
    if aspect:
        assert wide <= high * aspect + 1 + aspect
        assert high <= wide / aspect + 1 + 1 / aspect


@given(height=SIDES, width=SIDES, aspect=st.floats(0.5, 2), size=SIDES)
def test_padded_images_and_masks_stay_on_one_grid(height, width, aspect, size):
    image = np.full((1, height, width), 200, np.uint8)
    view = View(height=size, width=size, aspect=aspect)
    grey, ids = view.resize(image)[0] / 200, view.resize_masks(image // 200)[0]
    # The area of the image, a side at a time: in parts of pixels, and in whole pixels.
    for axis in (0, 1):
        assert abs(grey.max(axis).sum() - ids.max(axis).sum()) <= 1.1
        middles = [np.average(np.arange(size), weights=p.max(axis)) for p in (grey, ids)]
        assert abs(middles[0] - middles[1]) <= 0.6


@pytest.mark.parametrize("aspect", [0.0, -1.3, float("nan"), float("inf")])
def test_a_shape_that_no_image_has_is_refused(aspect):
    with pytest.raises(ArmError, match=r"aspect is .*; it needs width / height"):
        View(aspect=aspect)


def sample_track(most, num_frames):
    outputs = np.repeat(np.arange(num_frames, dtype=float)[:, None], 4, axis=1)
    return Track(max_frames=most).sample(outputs)[:, 0]


def test_a_track_keeps_the_middles_of_equal_parts_or_all_of_a_short_one():
    assert sample_track(2, 8).tolist() == [2, 6]
    assert sample_track(32, 320).tolist() == [*range(5, 320, 10)]
    for most, num_frames in [(32, 32), (32, 1), (0, 400)]:
        assert sample_track(most, num_frames).tolist() == list(range(num_frames))


@given(st.integers(1, 400), st.integers(1, 40))
def test_a_track_keeps_as_many_frames_as_it_may_once_each_and_evenly(num_frames, most):
    kept = sample_track(most, num_frames)
    assert len(kept) == min(num_frames, most)
    steps = np.diff(kept)
    assert np.all(steps >= 1)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
