import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import calibration


@pytest.mark.parametrize(
    ("confidence", "correct", "error"),
    [
        ([1, 1, 1, 1], [1, 0, 1, 0], 0.5),
        ([0.75] * 4, [1, 1, 1, 0], 0),
        ([1, 1, 0.5, 0.5], [0, 0, 1, 1], 0.75),  # errors of two bins do not cancel
        ([], [], np.nan),
    ],
)
def test_calibration_error_is_the_gap_of_confidence_and_correctness(confidence, correct, error):
    bins = calibration.histogram(np.array(confidence, float), np.array(correct, bool))
    curve = calibration.reliability_curve(bins)
    assert curve.expected_error() == pytest.approx(error, nan_ok=True)
    assert curve.number.sum() == len(correct)


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 1000]))
@settings(deadline=None, max_examples=25)
def test_area_below_the_curve_equals_scikit_learn(seed, steps):
    rng = np.random.default_rng(seed)
    positive = np.append(rng.random(20) < 0.5, [True, False])
    value = rng.integers(0, steps, 22) / steps
    false, true = calibration.roc(positive, value)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(oracle.roc_auc_score(positive, value))


def test_a_curve_of_one_kind_only_is_refused():
    with pytest.raises(ValueError, match="positive and negative"):
        calibration.roc(np.ones(3, bool), np.arange(3.0))


def segmented(seed, *, dtype=np.float32):
    """Probabilities of 3 classes for 4 images of 5 x 6 pixels, and true masks."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(3, 0.4), (4, 5, 6)).transpose(0, 3, 1, 2)
    return probability.astype(dtype), rng.integers(0, 3, (4, 5, 6), dtype=np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.integers(1, 15))
@settings(deadline=None, max_examples=25)
def test_summed_histograms_equal_calibration_of_all_pixels(seed, dtype, num_bins):
    probability, target = segmented(seed, dtype=dtype)
    total = calibration.pixel_histograms(probability, target, num_bins=num_bins).sum(axis=0)
    correct = probability.argmax(axis=1) == target
    pooled = calibration.histogram(
        probability.max(axis=1).ravel(), correct.ravel(), num_bins=num_bins
    )
    assert total == pytest.approx(pooled)


def test_a_histogram_holds_number_confidence_and_hits():
    confidence, correct = np.array([0.25, 0.5, 0.75]), np.array([True, False, True])
    histogram = calibration.checked_histogram(confidence, correct, num_bins=2)
    assert histogram.tolist() == [[2, 0.75, 1], [1, 0.75, 1]]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.5, 1.5])
def test_confidences_that_are_no_probabilities_are_refused(wrong):
    with pytest.raises(ValueError, match="1 of 2 confidences are no number from 0 to 1"):
        calibration.checked_histogram(np.array([0.5, wrong]), np.ones(2, bool))
    probability, target = segmented(0)
    probability[2, :, 0, 0] = wrong
    with pytest.raises(ValueError, match="1 of 30 confidences"):
        calibration.pixel_histograms(probability, target)


@pytest.mark.usefixtures("unchecked")
def test_masks_of_another_size_are_refused():
    probability, target = segmented(0)
    message = r"probabilities \(4, 3, 5, 6\) and true masks \(4, 5, 5\)"
    with pytest.raises(ValueError, match=message):
        calibration.pixel_histograms(probability, target[:, :, :5])
    with pytest.raises(ValueError, match=r"confidences \(2,\) and correctness \(3,\)"):
        calibration.checked_histogram(np.zeros(2), np.zeros(3, bool))


def test_calibration_by_patient_equals_scikit_learn_under_any_weights():
    rng = np.random.default_rng(3)
    probability = rng.dirichlet(np.ones(3), 40)
    target, patient = rng.integers(0, 3, 40), [f"p{k % 8}" for k in range(40)]
    counts = calibration.count_calibration(patient, target, probability)
    weights = rng.integers(0, 3, (1, 8)).astype(float)
    by_clip = weights[0, [int(name[1:]) for name in patient]]
    found = counts.metrics(weights)
    loss = oracle.log_loss(target, probability, sample_weight=by_clip)
    assert found["log_loss"] == pytest.approx(loss)
    brier = ((probability - np.eye(3)[target]) ** 2).sum(axis=1)
    assert found["brier"] == pytest.approx(np.average(brier, weights=by_clip))
    repeated = np.repeat(np.arange(40), by_clip.astype(int))
    correct = probability.argmax(axis=1) == target
    bins = calibration.histogram(probability.max(axis=1)[repeated], correct[repeated])
    error = calibration.reliability_curve(bins).expected_error()
    assert found["calibration_error"] == pytest.approx(error)


def test_yes_no_labels_are_calibrated_by_the_probability_of_yes():
    yes = np.array([0.1, 0.6])
    probability, target = np.stack([1 - yes, yes], axis=1), np.array([0, 1])
    counts = calibration.count_calibration(["a", "b"], target, probability, yes_no=True)
    assert counts.metrics(np.ones((1, 2)))["calibration_error"] == pytest.approx(0.25)
