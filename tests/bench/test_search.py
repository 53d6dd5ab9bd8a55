"""Both searches try the same samples; how long an equal score takes is counted, not asserted."""

from dataclasses import replace

import numpy as np
import pytest

from lus_ray.bench import search
from lus_ray.bench.measure import Baseline, Comparison
from lus_ray.bench.search import TrialResult
from lus_ray.errors import LusError

TRIALS = {0: TrialResult({"lr": 0.1}, 0.5, 2.0), 1: TrialResult({"lr": 0.01}, 0.75, 4.0)}


def test_equal_samples_may_end_at_other_times():
    later = {number: replace(tried, ended_s=9.0) for number, tried in TRIALS.items()}
    search.check_samples(TRIALS, later, at_least=2)


@pytest.mark.parametrize(
    ("other", "field"), [({"settings": {"lr": 0.2}}, "settings"), ({"score": 0.7}, "score")]
)
def test_a_baseline_with_another_sample_gets_no_ratio(other, field):
    broken = {**TRIALS, 1: replace(TRIALS[1], **other)}
    with pytest.raises(LusError, match=f"the {field} of sample 1 are"):
        search.check_samples(TRIALS, broken, at_least=2)


def test_too_few_samples_get_no_ratio():
    with pytest.raises(LusError, match="fewer than 2 samples"):
        search.check_samples(TRIALS, {0: TRIALS[0]}, at_least=2)


def test_the_time_counts_until_the_first_sample_as_good_as_the_best_of_the_baseline():
    quick = {0: replace(TRIALS[1], ended_s=1.0), 1: replace(TRIALS[1], score=0.8, ended_s=3.0)}
    assert search.until_as_good(quick, TRIALS) == (1.0, 4.0)
    assert search.until_as_good({0: TRIALS[0]}, TRIALS) == (np.inf, 4.0)


def test_the_row_has_the_median_ratio_and_0_where_ours_never_got_there():
    baseline = Baseline("baseline", 1.0, 2.0, 3.0, 1.0, 1.0, 1.0)
    whole = Comparison(3, 1, 1.0, 2.0, 3.0, (baseline,))
    row = search.to_score(whole, [(1.0, 2.0), (2.0, 3.0), (np.inf, 4.0)])
    assert (row.wall_ms, row.target) == (2000, 1.3)
    assert (row.baselines[0].wall_ms, row.baselines[0].ratio, row.baselines[0].low) == (
        3000,
        1.5,
        0,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_is_measured():
    results = search.measure(1, num_patients=16, num_samples=2, num_epochs=1)
    assert list(results) == ["to an equal best validation score", "all 2 samples"]
    for measured in results.values():
        assert [baseline.name for baseline in measured.baselines] == [search.BASELINE]
