import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lus_ray.metrics import significance

VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=20)
NAN = float("nan")


def array(*values):
    return np.array(values, np.float64)


def bootstrapped(first, second, patient, draws=999):
    rng = np.random.default_rng(0)
    return significance.bootstrap_test(first, second, patient, num_draws=draws, rng=rng)


TESTS = {
    "images": lambda first, second, patient: significance.t_test(first, second),
    "patients": significance.t_test_patients,
    "bootstrap": bootstrapped,
}


@given(VALUES)
def test_the_test_over_images_is_that_of_scipy(values):
    first, second = np.array(values).T
    assume(np.std(first - second) > 1e-6)
    expected = stats.ttest_rel(first, second).pvalue
    assert significance.t_test(first, second) == pytest.approx(expected, rel=1e-6)
    assert significance.t_test(second, first) == significance.t_test(first, second)


def test_the_test_over_patients_is_that_of_their_means():
    first, second = array(0.9, 0.7, 0.6, 0.8, 0.5), array(0.5, 0.5, 0.5, 0.5, 0.5)
    p = significance.t_test_patients(first, second, ["a", "a", "b", "c", "c"])
    expected = stats.ttest_1samp([0.3, 0.1, 0.15], 0).pvalue
    assert p == pytest.approx(expected)


def test_images_repeated_within_patients_convince_only_the_test_over_images():
    rng = np.random.default_rng(0)
    by_patient = array(0.2, -0.1, 0.15, 0.05)
    first = np.repeat(by_patient, 50) + 0.01 * rng.standard_normal(200)
    patient = [name for name in "abcd" for _ in range(50)]
    second = np.zeros(200)
    assert significance.t_test(first, second) < 1e-6
    assert significance.t_test_patients(first, second, patient) > 0.2
    assert bootstrapped(first, second, patient) > 0.05


@pytest.mark.parametrize("name", TESTS)
def test_equal_gains_are_sure_no_gain_is_none_and_undefined_images_are_left_out(name):
    test, abc = TESTS[name], ["a", "b", "c"]
    low, high = array(0.5, 0.25, 0.75), array(0.75, 0.5, 1.0)
    assert test(low, low, abc) == 1.0
    assert test(high, low, abc) == (1 / 1000 if name == "bootstrap" else 0.0)
    assert np.isnan(test(low[:1], high[:1], ["a"]))
    assert np.isnan(test(array(), array(), []))
    first, second = array(0.5, NAN, 0.8, 0.3, 0.6), array(0.4, 0.1, NAN, 0.5, 0.1)
    clean = test(first[[0, 3, 4]], second[[0, 3, 4]], ["a", "c", "d"])
    assert test(first, second, ["a", "b", "b", "c", "d"]) == clean


@pytest.mark.parametrize("name", ["patients", "bootstrap"])
def test_one_patient_cannot_be_tested_and_every_image_needs_its_patient(name):
    assert np.isnan(TESTS[name](array(0.5, 0.9, 0.8), array(0.4, 0.3, 0.1), ["a"] * 3))
    with pytest.raises(ValueError, match="patients of 1 images and values of 2"):
        TESTS[name](array(0.1, 0.2), array(0.2, 0.1), ["a"])


def test_a_patient_counts_in_the_bootstrap_with_all_images():
    # Of two patients a draw takes a twice, b twice or one of each; only b twice is above 0.
    values = array(-0.5, -0.5, -0.5, 0.5)
    p = bootstrapped(values, np.zeros(4), ["a", "a", "a", "b"], draws=20_000)
    assert p == pytest.approx(2 * 0.25, abs=0.02)


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([NAN, 0.04, NAN, 0.02], [NAN, 0.04, NAN, 0.04]),
        ([], []),
    ],
)
def test_holm_multiplies_by_the_number_of_defined_comparisons_left(raw, adjusted):
    np.testing.assert_allclose(significance.holm(array(*raw)), adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_the_raw_value_and_bonferroni(values):
    p = np.array(values)
    adjusted = significance.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
