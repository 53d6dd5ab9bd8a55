"""Calibration error and ROC curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import calibration


def test_always_sure_and_half_right_is_off_by_one_half() -> None:
    curve = calibration.reliability(np.ones(4), np.array([True, False, True, False]))
    assert curve.expected_error() == 0.5
    assert curve.number.tolist() == [4]


def test_confidence_that_is_met_has_no_error() -> None:
    curve = calibration.reliability(np.full(4, 0.75), np.array([True, True, True, False]))
    assert curve.expected_error() == pytest.approx(0.0)


def test_no_predictions_have_no_calibration_error() -> None:
    assert np.isnan(calibration.reliability(np.zeros(0), np.zeros(0, bool)).expected_error())


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 1000]))
@settings(deadline=None, max_examples=50)
def test_area_below_the_curve_equals_scikit_learn(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    positive = np.append(rng.random(20) < 0.5, [True, False])
    value = rng.integers(0, steps, 22) / steps
    false, true = calibration.roc(positive, value)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(oracle.roc_auc_score(positive, value))


def test_a_curve_of_one_kind_only_is_refused() -> None:
    with pytest.raises(ValueError, match="positive and negative"):
        calibration.roc(np.ones(3, bool), np.arange(3.0))
