"""The clip schema: accepted and refused rows, and lossless pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lus_ray.clip import (
    BIOMARKER_GROUPS,
    BIOMARKERS,
    SCHEMA,
    frames_of,
    hash_pixels,
    make_row,
    masks_of,
    sf_class,
)
from lus_ray.errors import SchemaError

FRAMES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
WHO = {"clip": "test/a", "patient": "test/p", "source": "test"}


def test_there_are_38_biomarkers_in_groups_of_the_published_sizes():
    assert len(BIOMARKERS) == 38
    assert [len(levels) for levels in BIOMARKER_GROUPS.values()] == [5, 5, 3, 4, 3, 5, 5, 5, 3]


def test_a_row_has_every_column_and_null_without_an_annotation():
    row = make_row(FRAMES, **WHO)
    assert list(row) == SCHEMA.names
    assert row["severity"] is None
    assert row["group"] == row["patient"]


@given(arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3)))
def test_pixels_come_back_as_they_were(frames):
    row = make_row(frames, masks=frames % 2, mask_scheme="bline", **WHO)
    assert np.array_equal(frames_of(row), frames)
    assert np.array_equal(masks_of(row), frames % 2)


def test_the_hash_depends_on_the_shape_and_on_the_bytes():
    assert hash_pixels(FRAMES) != hash_pixels(FRAMES.reshape(2, 4, 3))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("severity", 4), ("severity", 1.0), ("severity", True), ("severity", [1]), ("raters", 1),
        ("biomarkers", 1), ("fps", "25"), ("fps", True), ("mm_per_pixel", "0.2"),
        ("sf_ratio", [310.0]), ("zone", 1), ("disease", ["healthy"]), ("domain", b"ward"),
        ("frame_severity", [0]), ("raters", [0, -1]), ("biomarkers", [0] * 37),
        ("biomarkers", [2] * 38), ("sf_ratio", float("nan")), ("sf_ratio", -1.0),
        ("fps", float("inf")), ("mm_per_pixel", 0.0), ("disease", "a cold"), ("probe", "curved"),
        ("clip", "other/a"), ("patient", " "), ("mask_scheme", "dense"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused_and_never_coerced(column, value):
    with pytest.raises(SchemaError, match=r"test|clip"):
        make_row(FRAMES, **{**WHO, column: value})


@pytest.mark.parametrize("fps", [25, 25.0, np.float32(25), np.int64(25)])
def test_a_number_of_any_kind_is_a_number(fps):
    assert make_row(FRAMES, fps=fps, **WHO)["fps"] == 25


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frames", "columns", "message"),
    [
        (FRAMES, {"masks": FRAMES[:1], "mask_scheme": "dense"}, "mask"),
        (FRAMES, {"masks": FRAMES + 10, "mask_scheme": "dense"}, "mask"),
        (FRAMES, {"weight": 3}, "weight"),
        (FRAMES / 255, {}, "float64"),
    ],
)
def test_other_masks_columns_and_types_are_refused(frames, columns, message):
    with pytest.raises(SchemaError, match=message):
        make_row(frames, **columns, **WHO)


@pytest.mark.parametrize(
    ("ratio", "expected"), [(431, 0), (430, 1), (275, 1), (274.9, 2), (180, 2), (179.9, 3)]
)
def test_the_sf_classes_meet_at_the_published_limits(ratio, expected):
    assert sf_class(ratio) == expected
