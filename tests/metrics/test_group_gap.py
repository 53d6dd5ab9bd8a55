import numpy as np
import pytest

from lus_ray.metrics.group_gap import worst_gap


def measured(rng, means, *, sizes, num_draws=300):
    """Observed means of groups of normal values, and their bootstrap draws."""
    samples = [mean + rng.normal(size=n) for mean, n in zip(means, sizes, strict=True)]
    draws = [rng.choice(own, (num_draws, len(own))).mean(axis=1) for own in samples]
    return np.array([own.mean() for own in samples]), np.array(draws)


@pytest.mark.parametrize(
    ("means", "gap"), [((0.0, 0.0, 0.0, 0.0, 0.0), 0.0), ((0.0, 0.2, 0.5, 1.0, 0.9), 1.0)]
)
def test_the_interval_holds_the_true_gap_as_often_as_it_promises(means, gap):
    rng = np.random.default_rng(0)
    found = [worst_gap(*measured(rng, means, sizes=(80, 40, 60, 30, 100))) for _ in range(100)]
    held = np.mean([own.interval.low <= gap <= own.interval.high for own in found])
    assert held >= 0.92
    assert np.mean([own.value for own in found]) > gap


def test_the_plain_interval_of_the_picked_pair_excludes_equal_groups():
    rng = np.random.default_rng(1)
    values, draws = measured(rng, np.zeros(5), sizes=[50] * 5)
    plain = np.quantile(draws.max(axis=0) - draws.min(axis=0), 0.025)
    assert plain > 0
    assert worst_gap(values, draws).interval.low == 0


def test_two_groups_have_the_interval_of_their_difference():
    rng = np.random.default_rng(2)
    values, draws = measured(rng, (0.0, 2.0), sizes=(50, 50), num_draws=3000)
    found = worst_gap(values, draws)
    assert (found.best, found.worst) == (1, 0)
    assert found.value == values[1] - values[0]
    low, high = np.quantile(draws[1] - draws[0], [0.025, 0.975])
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.05)


def test_an_undefined_group_in_most_draws_leaves_no_interval():
    draws = np.full((2, 10), np.nan)
    draws[:, :4] = 0.5
    found = worst_gap(np.array([0.5, 0.7]), draws)
    assert np.isnan(found.interval.low)
    assert found.interval.reason == "all groups are defined in only 4 of 10 draws"
    with pytest.raises(ValueError, match="1 groups"):
        worst_gap(np.array([0.5]), draws[:1])
