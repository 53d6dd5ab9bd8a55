"""Histograms of pixels add up, and say what all their pixels say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.metrics import calibration
from lus_ray.metrics import pixel_calibration as pixels


def segmented(seed: int, *, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 3 classes for 4 images of 5 x 6 pixels, and true masks."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(3, 0.4), (4, 5, 6)).transpose(0, 3, 1, 2)
    return probability.astype(dtype), rng.integers(0, 3, (4, 5, 6), dtype=np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.integers(1, 15))
@settings(deadline=None, max_examples=50)
def test_summed_histograms_equal_calibration_of_all_pixels(
    seed: int, dtype: type, num_bins: int
) -> None:
    probability, target = segmented(seed, dtype=dtype)
    total = pixels.pixel_histograms(probability, target, num_bins=num_bins).sum(axis=0)
    correct = probability.argmax(axis=1) == target
    expected = calibration.reliability(
        probability.max(axis=1).ravel(), correct.ravel(), num_bins=num_bins
    )
    found = calibration.reliability_curve(total)
    assert found.number.tolist() == expected.number.tolist()
    assert found.correct.tolist() == expected.correct.tolist()
    assert found.confidence == pytest.approx(expected.confidence)
    assert found.expected_error() == pytest.approx(expected.expected_error())


def test_a_histogram_holds_number_confidence_and_hits() -> None:
    found = pixels.checked_histogram(
        np.array([0.25, 0.5, 0.75]), np.array([True, False, True]), num_bins=2
    )
    assert found.tolist() == [[2, 0.75, 1], [1, 0.75, 1]]


def test_errors_of_two_bins_do_not_cancel() -> None:
    sure_and_wrong = pixels.checked_histogram(np.full(2, 1.0), np.zeros(2, bool))
    unsure_and_right = pixels.checked_histogram(np.full(2, 0.5), np.ones(2, bool))
    both = sure_and_wrong + unsure_and_right
    found = [sure_and_wrong, unsure_and_right, both]
    assert [calibration.reliability_curve(one).expected_error() for one in found] == [
        1.0,
        0.5,
        0.75,
    ]


def test_without_pixels_the_error_is_undefined() -> None:
    nothing = pixels.checked_histogram(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(calibration.reliability_curve(nothing).expected_error())
    assert calibration.reliability_curve(nothing).number.tolist() == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.5, 1.5])
def test_confidences_that_are_no_probabilities_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 confidences are no number from 0 to 1"):
        pixels.checked_histogram(np.array([0.5, wrong]), np.ones(2, bool))


def test_one_pixel_without_probabilities_is_enough_to_refuse_an_image() -> None:
    probability, target = segmented(0)
    probability[2, 1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 30 confidences"):
        pixels.pixel_histograms(probability, target)


@pytest.mark.usefixtures("unchecked")
def test_masks_of_another_size_are_refused() -> None:
    probability, target = segmented(0)
    with pytest.raises(
        ValueError, match=r"probabilities \(4, 3, 5, 6\) and true masks \(4, 5, 5\)"
    ):
        pixels.pixel_histograms(probability, target[:, :, :5])
    with pytest.raises(ValueError, match=r"confidences \(2,\) and correctness \(3,\)"):
        pixels.checked_histogram(np.zeros(2), np.zeros(3, bool))
