"""Both searches try the same samples; how long an equal score takes is counted, not asserted."""

from dataclasses import replace

import numpy as np
import pytest

from lus_ray.bench import search
from lus_ray.bench.measure import Measured, Rival
from lus_ray.bench.search import Tried
from lus_ray.errors import LusError

TRIALS = {0: Tried({"lr": 0.1}, 0.5, 2.0), 1: Tried({"lr": 0.01}, 0.75, 4.0)}


def test_equal_samples_may_end_at_other_times():
    later = {number: replace(tried, ended_s=9.0) for number, tried in TRIALS.items()}
    search.check_samples(TRIALS, later, at_least=2)


@pytest.mark.parametrize(
    ("other", "what"), [({"settings": {"lr": 0.2}}, "settings"), ({"score": 0.7}, "score")]
)
def test_a_rival_with_another_sample_gets_no_ratio(other, what):
    broken = {**TRIALS, 1: replace(TRIALS[1], **other)}
    with pytest.raises(LusError, match=f"the {what} of sample 1 are"):
        search.check_samples(TRIALS, broken, at_least=2)


def test_too_few_samples_get_no_ratio():
    with pytest.raises(LusError, match="fewer than 2 samples"):
        search.check_samples(TRIALS, {0: TRIALS[0]}, at_least=2)


def test_the_time_counts_until_the_first_sample_as_good_as_the_best_of_the_rival():
    quick = {0: replace(TRIALS[1], ended_s=1.0), 1: replace(TRIALS[1], score=0.8, ended_s=3.0)}
    assert search.until_as_good(quick, TRIALS) == (1.0, 4.0)
    assert search.until_as_good({0: TRIALS[0]}, TRIALS) == (np.inf, 4.0)


def test_the_row_has_the_median_ratio_and_0_where_ours_never_got_there():
    rival = Rival("rival", 1.0, 2.0, 3.0, 1.0, 1.0, 1.0)
    whole = Measured(3, 1, 1.0, 2.0, 3.0, (rival,))
    row = search.to_score(whole, [(1.0, 2.0), (2.0, 3.0), (np.inf, 4.0)])
    assert (row.wall_ms, row.target) == (2000, 1.3)
    assert (row.rivals[0].wall_ms, row.rivals[0].ratio, row.rivals[0].low) == (3000, 1.5, 0)


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_is_measured():
    found = search.measure(1, num_patients=16, num_samples=2, num_epochs=1)
    assert list(found) == ["to an equal best validation score", "all 2 samples"]
    for measured in found.values():
        assert [rival.name for rival in measured.rivals] == [search.RIVAL]
