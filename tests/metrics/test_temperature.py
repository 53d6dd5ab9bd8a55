import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from lus_ray.metrics.temperature import BOUNDS, apply_temperature, fit_temperature


def sampled(seed, *, num_examples=400, num_classes=3):
    """Probabilities, and targets drawn from them: calibrated by construction."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(num_classes), num_examples)
    target = (probability.cumsum(axis=1) < rng.random((num_examples, 1))).sum(axis=1)
    return target, probability


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.4, 1.0, 2.5]))
@settings(deadline=None, max_examples=5)
def test_the_temperature_that_distorted_calibrated_probabilities_is_found(seed, distortion):
    target, probability = sampled(seed, num_examples=5_000)
    fitted = fit_temperature(target, apply_temperature(probability, distortion))
    assert fitted.value == pytest.approx(1 / distortion, rel=0.15)
    assert not fitted.reason


@pytest.mark.parametrize("num_classes", [2, 4])
def test_scaled_probabilities_equal_those_of_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    target = np.arange(300) % num_classes
    inputs = rng.normal(size=(300, 3)) + target[:, None] / 3
    model = LogisticRegression(C=0.3).fit(inputs[:30], target[:30])
    held_out = inputs[30:], target[30:]
    oracle = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(*held_out)
    probability = model.predict_proba(held_out[0])
    temperature = fit_temperature(held_out[1], probability).value
    expected = oracle.predict_proba(held_out[0])
    assert apply_temperature(probability, temperature) == pytest.approx(expected, abs=2e-3)


@given(st.integers(0, 2**32 - 1), st.floats(*BOUNDS))
@settings(deadline=None, max_examples=25)
def test_the_order_of_classes_stays_and_temperatures_undo_each_other(seed, temperature):
    _, probability = sampled(seed, num_examples=20)
    probability = 0.9 * probability + 0.1 / 3
    scaled = apply_temperature(probability, temperature)
    assert scaled.sum(axis=1) == pytest.approx(1)
    assert (scaled.argmax(axis=1) == probability.argmax(axis=1)).all()
    if temperature > 0.5:
        assert apply_temperature(scaled, 1 / temperature) == pytest.approx(probability, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "probability", "reason"),
    [
        ([0, 1], [[0.9, 0.1], [0.4, 0.6]], "every validation prediction is right or tied"),
        ([0, 1], [[0.5, 0.5], [0.4, 0.6]], "every validation prediction is right or tied"),
        (
            [0, 1] * 50,
            [[0.51, 0.49], [0.49, 0.51]] * 49 + [[0.5, 0.5], [0.50001, 0.49999]],
            "almost every validation prediction is right",
        ),
        ([1, 1], [[0.9, 0.1], [0.4, 0.6]], "all validation examples are of one class"),
        ([0, 1], [[np.nan, 0.1], [0.4, 0.6]], "no usable validation prediction"),
        ([], np.zeros((0, 2)), "no usable validation prediction"),
    ],
)
def test_what_cannot_be_fitted_stays_as_it_is_with_a_reason(target, probability, reason):
    fitted = fit_temperature(np.array(target, int), np.array(probability, float))
    assert (fitted.value, fitted.reason) == (1, reason)


def test_predictions_worse_than_chance_are_flattened_to_the_bound():
    target, probability = np.array([0, 1]), np.array([[0.1, 0.9], [0.9, 0.1]])
    fitted = fit_temperature(target, probability)
    assert fitted.value == pytest.approx(BOUNDS[1], rel=1e-3)
    assert fitted.reason == "validation predictions are no better than chance"
