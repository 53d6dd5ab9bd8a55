"""Both services respond alike within a bound on p99."""

import pytest

from lus_ray.bench.serve import RIVAL, Loaded, at_equal_p99, best_clients, check_equal
from lus_ray.errors import LusError

BIOMARKERS = {"names": ["A-lines", "B-lines"], "probability": [0.25, 0.75]}
RESPONSE = {
    "clip": {"sha256": "ab", "notes": ["no known view"]},
    "lung_ultrasound": {"likely": True, "score": 0.9},
    "biomarkers": BIOMARKERS,
    "experts": [{"label": "severity", "answers": [{"name": "MLP", "probability": [0.5, 0.5]}]}],
    "frames": None,
    "clip_scores": [],
    "masks": None,
    "timings_ms": {"total": 3.0},
}


def loaded(**wall_s: dict[int, float]) -> dict[str, dict[int, Loaded]]:
    """One repeat: wall seconds per clip by number of clients, which all wait for a response."""
    names = {"ours": "", "theirs": RIVAL}
    return {
        names[name]: {n: Loaded((n * wall,) * 10, wall, wall / 2) for n, wall in clients.items()}
        for name, clients in wall_s.items()
    }


def test_responses_that_differ_by_rounding_and_time_are_equal():
    rounded = {**BIOMARKERS, "probability": [0.25 + 1e-7, 0.75]}
    later = {**RESPONSE, "timings_ms": {"total": 99.0}, "clip": {"sha256": "ab", "notes": []}}
    check_equal(RESPONSE, {**later, "biomarkers": rounded}, "the other")


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("biomarkers", {**BIOMARKERS, "probability": [0.2501, 0.75]},
         r"the other returns 0.2501 at biomarkers.probability\[0\] where ours returns 0.25;"),
        ("experts", [], r"returns nothing at experts\[0\].label where ours returns severity"),
        ("clip", {"sha256": "cd"}, "returns cd at clip where ours returns ab"),
        ("masks", {"share": [1.0]}, "nothing at masks where"),
    ],
)  # fmt: skip
def test_a_service_with_another_response_gets_no_ratio(part, value, reason):
    with pytest.raises(LusError, match=reason):
        check_equal(RESPONSE, {**RESPONSE, part: value}, "the other")


def test_ours_counts_with_the_clients_that_stay_within_the_rivals_p99():
    # The rival is fastest with 4 clients, each within 4 x 0.05 s = 0.2 s. Ours is fastest
    # with 8, but within 8 x 0.04 s = 0.32 s; with 4 it takes 4 x 0.045 s = 0.18 s.
    turn = loaded(ours={1: 0.1, 4: 0.045, 8: 0.04}, theirs={1: 0.1, 4: 0.05, 8: 0.06})
    results = at_equal_p99([turn, turn], target=1.0)
    (rival,) = results.rivals
    assert (results.wall_ms, rival.wall_ms) == pytest.approx((45, 50))
    assert (rival.low, rival.ratio, rival.high) == pytest.approx([50 / 45] * 3)
    assert (results.cpu_s, rival.cpu_s) == pytest.approx((0.0225, 0.025))
    assert results.target == 1


def test_a_service_that_is_never_within_the_p99_counts_where_it_is_closest():
    turn = loaded(ours={2: 0.2, 4: 0.15})  # 0.4 s, and 0.6 s with four
    assert best_clients([turn], "", within_s=0.1) == 2
