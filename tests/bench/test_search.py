"""The time until an equal validation score."""

from lus_ray.bench import search
from lus_ray.bench.measure import Result, Rival
from lus_ray.bench.search import TrialResult

TRIALS = {0: TrialResult({"lr": 0.1}, 0.5, 2.0), 1: TrialResult({"lr": 0.01}, 0.75, 4.0)}


def test_time_counts_until_the_best_score_that_both_reach():
    quick = {0: TrialResult({}, 0.75, 1.0), 1: TrialResult({}, 0.8, 3.0)}
    assert search.until_as_good(quick, TRIALS) == (1.0, 4.0)
    assert search.until_as_good({0: TRIALS[0]}, TRIALS) == (2.0, 2.0)


def test_the_row_has_the_median_ratio():
    rival = Rival("rival", 1.0, 2.0, 1.0, 1.0, 1.0)
    whole = Result(3, 1, 1.0, 2.0, (rival,))
    row = search.to_score(whole, [(1.0, 2.0), (2.0, 3.0), (8.0, 4.0)])
    assert (row.wall_ms, row.target, row.cpu_s) == (2000, 1.3, 2)
    (ours,) = row.rivals
    assert (ours.wall_ms, ours.ratio, ours.low) == (3000, 1.5, 0.5)
