import numpy as np
import pytest

from lus_ray.metrics import bootstrap, patient_counts


def accuracies(hits, *, seed=0, num_draws=400):
    """Draws of the accuracy of clips (patients x clips) that are right or wrong."""
    num_patients, num_clips = hits.shape
    patients = [f"p{k:03d}" for k in range(num_patients) for _ in range(num_clips)]
    predicted = hits.astype(int).ravel()
    counts = patient_counts.count_classes(patients, np.ones(hits.size, int), np.eye(2)[predicted])
    weights = bootstrap.resample_patients(
        num_patients, num_draws=num_draws, rng=np.random.default_rng(seed)
    )
    return bootstrap.metrics_by_cell({0: counts}, counts.patients, weights)[0]["accuracy"]


def test_draws_have_as_many_patients_as_there_are_and_follow_the_generator():
    first, again, other = (
        bootstrap.resample_patients(7, num_draws=50, rng=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert (first.sum(axis=1) == 7).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for study in range(150):
        chance = np.clip(rng.normal(0.7, 0.15, (40, 1)), 0, 1)
        interval = bootstrap.percentile_interval(
            accuracies(rng.random((40, 4)) < chance, seed=study, num_draws=200), num_patients=40
        )
        covered += interval.low <= 0.7 <= interval.high
    assert 0.88 <= covered / 150 <= 0.99


def test_resampling_patients_is_wider_than_resampling_their_equal_clips():
    hits = np.repeat(np.random.default_rng(2).random((20, 1)) < 0.5, 10, axis=1)
    by_patient = bootstrap.percentile_interval(accuracies(hits), num_patients=20)
    by_clip = bootstrap.percentile_interval(accuracies(hits.reshape(-1, 1)), num_patients=200)
    assert by_patient.high - by_patient.low > 2 * (by_clip.high - by_clip.low)


@pytest.mark.parametrize(
    ("values", "num_patients", "reason"),
    [
        ([1.0] * 10, 3, "3 patients, fewer than 4, cannot be resampled"),
        ([1.0, np.nan, np.nan], 9, "defined in only 1 of 3 draws of patients"),
    ],
)
def test_an_undefined_interval_has_the_reason(values, num_patients, reason):
    interval = bootstrap.percentile_interval(np.array(values), num_patients=num_patients)
    assert np.isnan(interval.low)
    assert interval.reason == reason
