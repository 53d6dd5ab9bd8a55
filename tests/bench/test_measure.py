"""How ratios are measured: in turn, paired, with an interval."""

import json
import math
import time

import numpy as np
import pytest
import torch

from lus_ray.bench.measure import (
    Baseline,
    Comparison,
    compare_in_turn,
    median_interval,
    torch_threads,
)
from lus_ray.bench.report import BenchReport
from lus_ray.errors import InputError


def test_runs_alternate_and_the_order_turns_round():
    calls: list[str] = []

    def run(name: str) -> None:
        calls.append(name)
        time.sleep(0.05)  # longer than a sample needs, so that each is one run

    compare_in_turn(lambda: run("a"), {"b": lambda: run("b")}, repeats=2, warmup=1)
    warm_up, first, second = calls[:2], calls[2:4], calls[4:]
    assert [warm_up, first, second] == [["a", "b"], ["b", "a"], ["a", "b"]]


def test_after_a_warm_up_short_runs_are_repeated_within_a_sample():
    calls: list[str] = []
    compare_in_turn(lambda: calls.append("ours"), {}, repeats=1, warmup=1)
    assert len(calls) > 2


def test_a_baseline_that_sleeps_longer_has_a_ratio_above_one_and_no_cpu_time():
    measured = compare_in_turn(
        lambda: time.sleep(0.01), {"slow": lambda: time.sleep(0.1)}, repeats=3, warmup=0
    )
    (slow,) = measured.baselines
    assert measured.repeats == 3
    assert slow.wall_ms >= 100
    assert slow.low <= slow.ratio <= slow.high
    assert slow.ratio > 1
    assert slow.cpu_s < 0.1


def test_closing_what_a_run_returns_is_not_measured():
    class SlowToClose:
        def __del__(self) -> None:
            closed.append(self)
            time.sleep(0.3)

    closed: list[SlowToClose] = []
    assert compare_in_turn(SlowToClose, {}, repeats=1, warmup=0).wall_ms < 300
    assert len(closed) == 1


def test_the_interval_of_one_value_is_that_value():
    assert median_interval(np.array([2.0]), rng=np.random.default_rng(0)) == (2, 2)


def test_the_interval_holds_the_median_and_stays_inside_the_values():
    values = np.arange(1.0, 22.0)
    low, high = median_interval(values, rng=np.random.default_rng(0))
    assert 1 < low < 11 < high < 21


def test_threads_are_given_back():
    results = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == results


def test_without_warm_up_a_sample_is_one_run():
    calls: list[str] = []
    compare_in_turn(lambda: calls.append("ours"), {}, repeats=3, warmup=0)
    assert len(calls) == 3


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 0), (1, -1)])
def test_at_least_one_repeat(repeats: int, warmup: int):
    with pytest.raises(InputError, match="repeat at least once"):
        compare_in_turn(lambda: None, {}, repeats=repeats, warmup=warmup)


def test_a_time_that_never_came_is_written_as_never_and_is_null_in_json():
    never = Comparison(
        1, 1, math.inf, 0.0, 0.0, (Baseline("a", 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),), 1.0
    )
    report = BenchReport("today", {"search": {"to a score": never}})
    assert "never" in report.text()
    text = json.dumps(report.contents(), allow_nan=False)
    assert json.loads(text)["measures"]["search"]["to a score"]["wall_ms"] is None
