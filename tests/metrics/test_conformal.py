import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.metrics.conformal import conformity_threshold, predict_sets, score_sets


def simulated(rng, num_patients, *, num_classes=4):
    """Patients of 1 to 5 clips that are alike, predicted by a model that is too confident."""
    number = rng.integers(1, 6, num_patients)
    patient = np.repeat([f"p{k}" for k in range(num_patients)], number)
    effect = np.repeat(rng.normal(size=(num_patients, num_classes)), number, axis=0)
    target = np.repeat(rng.integers(0, num_classes, num_patients), number)
    logits = effect + rng.normal(size=effect.shape) + 2 * np.eye(num_classes)[target]
    probability = np.exp(3 * logits)
    return patient.tolist(), target, probability / probability.sum(axis=1, keepdims=True)


def coverages(patient, target, probability, *, level, num_splits, rng):
    """Coverage of the other half of patients for sets calibrated on one half, by random split."""
    patient = np.array(patient)
    names, index = np.unique(patient, return_inverse=True)
    for _ in range(num_splits):
        first = rng.permutation(len(names))[: len(names) // 2]
        own = np.isin(index, first)
        threshold = conformity_threshold(
            list(patient[own]), target[own], probability[own], level=level
        )
        sets = predict_sets(probability[~own], threshold)
        yield score_sets(list(patient[~own]), target[~own], sets).means["coverage"].mean()


@pytest.mark.parametrize("level", [0.9, 0.8])
def test_coverage_of_new_patients_is_nominal_although_their_clips_are_alike(level):
    rng = np.random.default_rng(0)
    drawn = coverages(*simulated(rng, 1000), level=level, num_splits=200, rng=rng)
    assert np.mean(list(drawn)) == pytest.approx(level, abs=0.01)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.9, 0.8, 0.5]))
@settings(deadline=None, max_examples=50)
def test_with_one_clip_a_patient_the_threshold_is_the_corrected_quantile(seed, number, level):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(3), number)
    target = rng.integers(0, 3, number)
    names = [str(k) for k in range(number)]
    rank = int(np.ceil(level * (number + 1) - 1e-9))
    scores = np.sort(1 - probability[np.arange(number), target])
    expected = scores[rank - 1] if rank <= number else np.inf
    assert conformity_threshold(names, target, probability, level=level) == expected


def test_copies_of_a_clip_of_one_patient_change_nothing():
    rng = np.random.default_rng(1)
    patient, target, probability = simulated(rng, 30)
    known = conformity_threshold(patient, target, probability, level=0.9)
    own = [k for k, name in enumerate(patient) if name == patient[-1]]
    repeat = np.array([*range(len(patient)), *own * 50])
    many = conformity_threshold(
        [patient[k] for k in repeat], target[repeat], probability[repeat], level=0.9
    )
    assert many == known


@pytest.mark.parametrize(("number", "is_finite"), [(8, False), (9, True)])
def test_nine_patients_are_needed_for_ninety_percent(number, is_finite):
    patient, target = [str(k) for k in range(number)], np.zeros(number, int)
    probability = np.full((number, 2), 0.5)
    threshold = conformity_threshold(patient, target, probability, level=0.9)
    assert np.isfinite(threshold) == is_finite
    assert predict_sets(probability, threshold).all()


def test_scores_of_sets_are_means_over_patients():
    sets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
    scores = score_sets(["a", "a", "a", "b"], np.array([0, 0, 0, 0]), sets)
    means = scores.metrics(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert means["coverage"] == pytest.approx([1 / 3, 0])
    assert means["size"] == pytest.approx([(4 / 3 + 0) / 2, 0])
    assert means["single"] == pytest.approx([1 / 3, 0])
    assert means["empty"] == pytest.approx([1 / 2, 1])
