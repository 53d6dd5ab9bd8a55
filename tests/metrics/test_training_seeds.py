"""Means over folds and training seeds: their draws, and how often intervals cover the truth."""

import numpy as np
import pytest

from lus_ray.evaluation.verdicts import decide, measured
from lus_ray.metrics.bootstrap import percentile_interval, resample_patients
from lus_ray.metrics.training_seeds import SeedMetric

NUM_DRAWS = 200


def study(rng, *, seeds, folds=1, patients=40, of_patient=0.3, of_pair=0.0, of_seed=0.0):
    """A metric that is the mean of noise of patients, of seeds, and of both, around 0."""
    shape = (folds, patients, seeds)
    by_patient = of_patient * rng.standard_normal((folds, patients, 1))
    by_pair = of_pair * rng.standard_normal(shape)
    by_seed = of_seed / np.sqrt(patients) * rng.standard_normal((folds, 1, seeds))
    single = by_patient + by_pair + by_seed
    weights = [resample_patients(patients, num_draws=NUM_DRAWS, rng=rng) for _ in range(folds)]
    return SeedMetric(
        values=list(single.mean(axis=1)),
        draws=[(w @ own / patients).T for w, own in zip(weights, single, strict=True)],
        picks=list(rng.random((folds, seeds - 1, NUM_DRAWS))),
    )


def width(metric):
    interval = percentile_interval(metric.sample(), num_patients=40)
    return interval.high - interval.low


def test_the_mean_is_over_folds_of_means_over_seeds():
    nothing = np.zeros((0, 1))
    values = [np.array([0.2, 0.4]), np.array([0.9])]
    metric = SeedMetric(values, [own[:, None] for own in values], [np.zeros((1, 1)), nothing])
    assert metric.mean == pytest.approx(0.6)
    # Variance of the mean of two seeds in the first fold, divided by the square of two folds.
    assert metric.spread().error == pytest.approx(np.sqrt(0.02 / 2) / 2)
    assert metric.spread().dof == 1


def test_with_one_seed_the_draws_are_those_of_patients():
    metric = study(np.random.default_rng(0), seeds=1, folds=3)
    assert (metric.sample() == np.mean([own[0] for own in metric.draws], axis=0)).all()
    assert (metric.spread().error, metric.spread().dof) == (0.0, 0)


def test_intervals_are_wider_only_where_seeds_vary_more_than_patients_explain():
    without = study(np.random.default_rng(1), seeds=4, of_pair=0.3)
    varying = study(np.random.default_rng(1), seeds=4, of_pair=0.3, of_seed=1.0)
    of_patients = [
        np.mean([own.mean(axis=0) for own in m.draws], axis=0) for m in (without, varying)
    ]
    alone = [np.subtract(*np.quantile(own, [0.975, 0.025])) for own in of_patients]
    assert width(without) < 1.15 * alone[0]
    assert width(varying) > 1.3 * alone[1]


def test_a_difference_is_paired_by_seed():
    rng = np.random.default_rng(2)
    one = study(rng, seeds=3, of_seed=1.0)
    shifted = SeedMetric(
        [own + 0.1 for own in one.values], [own + 0.1 for own in one.draws], one.picks
    )
    difference = shifted.minus(one)
    assert difference.mean == pytest.approx(0.1)
    assert difference.spread().error == pytest.approx(0.0, abs=1e-9)
    assert width(difference) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "folds", "of_pair", "of_seed", "least"),
    [(3, 1, 0.3, 0.0, 0.88), (3, 1, 0.0, 0.3, 0.87), (2, 3, 0.3, 0.3, 0.88)],
)
def test_intervals_cover_the_truth_and_verdicts_rarely_err(seeds, folds, of_pair, of_seed, least):
    rng = np.random.default_rng([seeds, folds])
    covered = supported = contradicted = 0
    num_studies = 150
    for _ in range(num_studies):
        metric = study(rng, seeds=seeds, folds=folds, of_pair=of_pair, of_seed=of_seed)
        drawn = metric.sample()
        interval = percentile_interval(drawn, num_patients=40)
        covered += interval.low <= 0 <= interval.high
        error = float(drawn.std(ddof=1))
        difference = measured(metric.mean, error, 40 * folds, seeds=metric.spread())
        verdict = decide(difference, 0.05)
        supported += verdict == "supported"
        contradicted += verdict == "contradicted"
    assert least <= covered / num_studies <= 0.99
    assert supported / num_studies <= 0.06
    assert contradicted / num_studies <= 0.06


def test_few_seeds_that_vary_leave_few_degrees_of_freedom():
    rng = np.random.default_rng(3)
    dof = {}
    for of_seed in (0.0, 10.0):
        metric = study(rng, seeds=3, of_seed=of_seed)
        error = float(metric.sample().std(ddof=1))
        dof[of_seed] = measured(metric.mean, error, 40, seeds=metric.spread()).dof
    assert dof[0.0] == pytest.approx(39)
    assert 2 <= dof[10.0] < 4
