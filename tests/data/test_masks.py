import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.masks import DERIVED, class_map, convert_masks, resize_masks, smooth_masks
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, SchemaError

sides = st.integers(1, 40)


def test_dense_classes_collapse_to_sparse_ones_and_to_b_lines_directly_or_by_way_of_these():
    dense = np.arange(7, dtype=np.uint8).reshape(1, 1, 7)
    sparse, blines = (convert_masks(dense, "dense", target) for target in ("sparse", "bline"))
    assert sparse.tolist() == [[[0, 1, 2, 3, 3, 0, 0]]]
    assert blines.tolist() == [[[0, 0, 1, 0, 0, 0, 0]]]
    assert (convert_masks(sparse, "sparse", "bline") == blines).all()
    assert sparse.dtype == np.uint8
    assert class_map("dense", "sparse") == (0, 1, 2, 3, 3, 0, 0)


@pytest.mark.parametrize("pair", DERIVED)
def test_every_class_has_a_target_and_background_stays(pair):
    names = DERIVED[pair]
    assert len(names) == len(MASK_SCHEMES[pair[0]])
    assert set(names) == set(MASK_SCHEMES[pair[1]])
    assert names[0] == "background"


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_a_scheme_is_itself(scheme):
    ids = np.arange(len(MASK_SCHEMES[scheme]), dtype=np.uint8)
    assert (convert_masks(ids, scheme, scheme) == ids).all()
    assert class_map(scheme, scheme) == tuple(ids)


@pytest.mark.parametrize(
    "pair", [("markers", "bline"), ("sparse", "dense"), ("dense", "x"), ("x", "x")]
)
def test_what_cannot_be_derived_is_refused_with_the_pairs_that_can(pair):
    with pytest.raises(ArmError, match=r"dense to sparse, dense to bline, sparse to bline"):
        convert_masks(np.zeros((2, 2), np.uint8), *pair)


@pytest.mark.parametrize("target", ["sparse", "dense"])
def test_an_id_that_the_scheme_lacks_is_refused(target):
    with pytest.raises(SchemaError, match="mask class 7 is not in scheme 'dense'"):
        convert_masks(np.array([0, 7], np.uint8), "dense", target)


def test_a_mask_doubles_and_halves_by_hand():
    masks = np.array([[[1, 2], [3, 4]]], np.uint8)
    large = resize_masks(masks, 4, 4)
    assert large[0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert (resize_masks(large, 2, 2) == masks).all()
    assert resize_masks(np.array([[[5, 6, 7]]], np.uint8), 1, 1).item() == 6  # the middle one


@given(height=sides, width=sides, h=sides, w=sides)
def test_a_pixel_takes_the_class_at_its_centre(height, width, h, w):
    masks = np.arange(height * width).astype(np.uint8).reshape(1, height, width)
    small = resize_masks(masks, h, w)
    assert small.shape == (1, h, w)
    row, column = h // 2, w // 2
    centre = int((row + 0.5) / h * height + 1e-9), int((column + 0.5) / w * width + 1e-9)
    assert small[0, row, column] == masks[0, centre[0], centre[1]]


@given(height=sides, width=sides, times=st.integers(1, 4))
def test_growing_by_a_whole_factor_and_shrinking_again_changes_nothing(height, width, times):
    masks = np.random.default_rng(0).integers(0, 7, (2, height, width), dtype=np.uint8)
    large = resize_masks(masks, height * times, width * times)
    assert (resize_masks(large, height, width) == masks).all()


@given(st.integers(8, 60), st.integers(6, 60), st.floats(0.2, 0.8), st.booleans())
def test_the_edge_of_a_mask_stays_within_half_a_pixel_of_that_of_the_image(
    size, small, where, across
):
    step = int(where * size)
    image = np.zeros((1, size, size), np.uint8)
    image[:, step:] = 200
    image = image.transpose(0, 2, 1) if across else image
    resized = View(height=small, width=small).resize(image)[0] / 200
    mask = resize_masks(image // 200, small, small)[0]
    resized, mask = (resized.T, mask.T) if across else (resized, mask)
    # The area above the edge is its position, in pixels and parts of a pixel.
    edge_of_image, edge_of_mask = (small - pixels[:, 0].sum() for pixels in (resized, mask))
    assert abs(edge_of_image - edge_of_mask) <= 0.5 + 0.03


@settings(max_examples=30)
@given(st.integers(17, 60), st.integers(17, 60), st.integers(1, 7), st.sampled_from([1, 3, 7, 17]))
def test_smoothed_masks_are_those_of_scipys_median_filter(height, width, num_classes, side):
    fine, coarse = (
        np.random.default_rng(0).integers(0, num_classes, (2, -(-height // n), -(-width // n)))
        for n in (1, 5)
    )
    for ids in (fine, coarse.repeat(5, axis=1).repeat(5, axis=2)[:, :height, :width]):
        smoothed = smooth_masks(ids.astype(np.uint8), side)
        assert smoothed.dtype == np.uint8
        assert np.array_equal(smoothed, [median_filter(mask, size=side) for mask in ids])


def test_a_mask_that_is_smaller_than_the_window_is_mirrored_again():
    ids = np.random.default_rng(0).integers(0, 5, (1, 2, 3), np.uint8)
    padded = np.pad(ids[0], 8, mode="symmetric")
    expected = [[np.median(padded[i : i + 17, j : j + 17]) for j in range(3)] for i in range(2)]
    assert smooth_masks(ids, 17).tolist() == [expected]


def test_smoothing_takes_a_thin_line_away_and_rounds_a_corner():
    ids = np.zeros((1, 30, 30), np.uint8)
    ids[:, 5] = 4
    ids[:, 15:, :15] = 2
    smoothed = smooth_masks(ids, 7)
    assert set(np.unique(smoothed)) == {0, 2}
    assert (smoothed[0, 15, 14], smoothed[0, 20, 5]) == (0, 2)
    empty = np.zeros((0, 4, 4), np.uint8)
    assert smooth_masks(empty, 7).shape == convert_masks(empty, "dense", "sparse").shape


@pytest.mark.parametrize("side", [0, -3, 4])
def test_masks_have_no_median_over_an_even_number_of_pixels(side):
    with pytest.raises(ArmError, match=f"over {side} pixels; give an odd number"):
        smooth_masks(np.zeros((1, 4, 4), np.uint8), side)
