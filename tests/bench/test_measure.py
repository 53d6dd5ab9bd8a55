"""How ratios are measured: in turn, paired, with an interval."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.bench.measure import Comparison, Run, median_interval, refuse, torch_threads
from lus_ray.errors import LusError


def test_runs_alternate_and_the_order_is_reversed_each_time():
    calls: list[str] = []

    def run(name: str) -> None:
        calls.append(name)
        time.sleep(0.03)  # longer than a sample needs, so that each is one run

    Comparison(lambda: run("a"), {"b": lambda: run("b")}).measure(2)
    assert calls == ["a", "b", "b", "a", "a", "b"]


def test_short_runs_are_repeated_within_a_sample_only_after_a_warm_up():
    calls: list[str] = []
    Comparison(lambda: calls.append("ours"), warmup=0).measure(3)
    assert len(calls) == 3
    Comparison(lambda: calls.append("ours")).measure(1)
    assert len(calls) > 5


def test_a_rival_that_sleeps_longer_has_a_ratio_above_one_and_no_cpu_time():
    slowly = {"slow": lambda: time.sleep(0.1)}
    (slow,) = Comparison(lambda: time.sleep(0.01), slowly, warmup=0).measure(1).rivals
    assert slow.wall_ms >= 100
    assert slow.ratio > 1
    assert slow.cpu_s < 0.1


def test_closing_what_a_run_returns_is_not_measured():
    class SlowToClose:
        def __del__(self) -> None:
            closed.append(time.sleep(0.3))

    closed: list[None] = []
    assert Comparison(SlowToClose, warmup=0).measure(1).wall_ms < 300
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


def test_an_iterator_ends_with_its_last_item():
    def items() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.01)
            yield number

    assert Comparison(items, warmup=0).measure(1).wall_ms >= 30


def test_a_rival_that_does_other_work_is_not_timed_and_a_row_has_its_own_number_of_repeats():
    def check(ours: Run, theirs: Run, name: str) -> None:
        if ours() != theirs():
            refuse(name)

    row = Comparison(lambda: 1, {"equal": lambda: 1}, check, repeats=2)
    assert row.measure(5).repeats == 2
    with pytest.raises(LusError, match="unequal; no ratio"):
        replace(row, rivals={"unequal": lambda: 2}).measure(5)
