"""Both services respond alike within a bound on p99; speed itself is not asserted."""

import copy

import pytest

from lus_ray.bench import serve
from lus_ray.bench.serve import (
    BASELINE,
    Loaded,
    at_equal_p99,
    best_clients,
    check_equal,
    flatten_json,
)
from lus_ray.errors import LusError

ANSWER = {
    "clip": {"sha256": "ab", "notes": ["its name tells nothing"]},
    "lung_ultrasound": {"likely": True, "score": 0.9},
    "biomarkers": {"names": ["A-lines", "B-lines"], "probability": [0.25, 0.75]},
    "experts": [{"label": "severity", "answers": [{"name": "MLP", "probability": [0.5, 0.5]}]}],
    "frames": None,
    "clip_scores": [],
    "masks": None,
    "timings_ms": {"total": 3.0},
}


def loaded(**wall_s: dict[int, float]) -> dict[str, dict[int, Loaded]]:
    """One repeat: by the number of clients, wall seconds a clip; an answer takes all clients'."""
    names = {"ours": "", "theirs": BASELINE}
    return {
        names[name]: {n: Loaded((n * wall,) * 10, wall, wall / 2) for n, wall in clients.items()}
        for name, clients in wall_s.items()
    }


def test_answers_that_differ_by_rounding_and_time_are_equal():
    other = copy.deepcopy(ANSWER)
    other["biomarkers"]["probability"][0] += 1e-7
    other["timings_ms"]["total"] = 99.0
    other["clip"]["notes"] = []
    check_equal(ANSWER, other, "the other")


@pytest.mark.parametrize(
    ("part", "value", "trouble"),
    [
        ("biomarkers", {"names": ["A-lines", "B-lines"], "probability": [0.2501, 0.75]},
         r"the other returns 0.2501 at biomarkers.probability\[0\] where ours returns 0.25 "),
        ("experts", [], r"None at frames where ours returns severity at experts\[0\]"),
        ("clip", {"sha256": "cd"}, "returns cd at clip where ours returns ab"),
        ("masks", {"share": [1.0]}, "at masks.share"),
    ],
)  # fmt: skip
def test_a_service_with_another_response_gets_no_ratio(part, value, trouble):
    with pytest.raises(LusError, match=trouble):
        check_equal(ANSWER, {**ANSWER, part: value}, "the other")


def test_a_response_is_flattened_to_its_values():
    assert flatten_json({"a": [1, {"b": 2}], "c": None}) == [
        ("a[0]", 1),
        ("a[1].b", 2),
        ("c", None),
    ]


def test_ours_counts_with_the_clients_that_stay_within_the_baselines_p99():
    # The baseline is fastest with 4 clients, each within 4 x 0.05 s = 0.2 s. Ours is fastest
    # with 8, but within 8 x 0.04 s = 0.32 s; with 4 it takes 4 x 0.045 s = 0.18 s.
    turn = loaded(ours={1: 0.1, 4: 0.045, 8: 0.04}, theirs={1: 0.1, 4: 0.05, 8: 0.06})
    results = at_equal_p99([turn, turn], {"": 900.0, BASELINE: 300.0})
    (baseline,) = results.baselines
    assert results.wall_ms == pytest.approx(45)
    assert baseline.wall_ms == pytest.approx(50)
    assert baseline.ratio == baseline.low == baseline.high == pytest.approx(50 / 45)
    assert (results.cpu_s, baseline.cpu_s) == (pytest.approx(0.0225), pytest.approx(0.025))
    assert (results.peak_mb, baseline.peak_mb) == (900, 300)
    assert results.target == 1


def test_a_service_that_is_never_within_the_p99_counts_where_it_is_closest():
    turn = loaded(ours={2: 0.2, 4: 0.15}, theirs={})
    assert best_clients([turn], "", within_s=0.1) == 2  # 0.4 s, and 0.6 s with four


@pytest.mark.ray
@pytest.mark.slow
def test_two_services_are_measured_and_gone_afterwards():
    results = serve.measure(1, clients=(1, 2), seconds=0.3, num_alone=4)
    assert list(results) == ["clips at equal p99", "path", f"path of {BASELINE}"]
    clips, path, floor = results.values()
    assert [baseline.name for baseline in clips.baselines] == [BASELINE]
    assert clips.wall_ms > 0
    assert clips.cpu_s > 0
    assert clips.peak_mb > clips.baselines[0].peak_mb > 0  # Ray's own processes count
    assert (path.target, floor.target) == (6, None)
    assert path.repeats == floor.repeats == 4
