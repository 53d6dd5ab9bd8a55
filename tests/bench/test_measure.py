"""How ratios are measured: in turn, paired, with an interval."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.bench.measure import compare_in_turn, median_interval, torch_threads
from lus_ray.errors import InputError


def test_runs_alternate_and_the_order_is_reversed_each_time():
    calls: list[str] = []

    def run(name: str) -> None:
        calls.append(name)
        time.sleep(0.03)  # longer than a sample needs, so that each is one run

    compare_in_turn(lambda: run("a"), {"b": lambda: run("b")}, repeats=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]


def test_short_runs_are_repeated_within_a_sample_only_after_a_warm_up():
    calls: list[str] = []
    compare_in_turn(lambda: calls.append("ours"), {}, repeats=3, warmup=0)
    assert len(calls) == 3
    compare_in_turn(lambda: calls.append("ours"), {}, repeats=1)
    assert len(calls) > 5


def test_a_baseline_that_sleeps_longer_has_a_ratio_above_one_and_no_cpu_time():
    (slow,) = compare_in_turn(
        lambda: time.sleep(0.01), {"slow": lambda: time.sleep(0.1)}, repeats=1, warmup=0
    ).baselines
    assert slow.wall_ms >= 100
    assert slow.ratio > 1
    assert slow.cpu_s < 0.1


def test_closing_what_a_run_returns_is_not_measured():
    class SlowToClose:
        def __del__(self) -> None:
            closed.append(time.sleep(0.3))

    closed: list[None] = []
    assert compare_in_turn(SlowToClose, {}, repeats=1, warmup=0).wall_ms < 300
    assert len(closed) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30))
def test_the_interval_contains_the_median_and_stays_inside_the_values(values):
    low, high = median_interval(np.array(values), rng=np.random.default_rng(0))
    assert min(values) <= low <= np.median(values) <= high <= max(values)


def test_threads_are_restored():
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 0), (1, -1)])
def test_at_least_one_repeat(repeats: int, warmup: int):
    with pytest.raises(InputError, match="repeat at least once"):
        compare_in_turn(lambda: None, {}, repeats=repeats, warmup=warmup)
