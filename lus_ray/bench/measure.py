"""How a ratio is measured: in turn, in one process, with an interval and with CPU seconds.

Letters: R repeats.
Why in turn: on a machine that others share, speed drifts by more than most ratios; two runs side
by side in time see the same drift, so that their ratio keeps what each of them loses. The order
turns round with every repeat. A run of a millisecond is done several times in a row, as one
sample. CPU seconds tell time used from time waited.
Why one thread is often the right number: a parallel loop waits for its slowest thread, and where
another process holds that core, it is the waiting that gets measured.
That all runs do the same work is for the caller to check before anything is timed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from lus_ray.errors import InputError

NUM_DRAWS = 2000
LEVEL = 0.95
SAMPLE_S = 0.02
"""After a warm-up, which says how long a run takes, a sample lasts at least about this long."""


@dataclass(frozen=True)
class Rival:
    """A rival's median time and the median of its paired ratios: above 1, ours is faster."""

    name: str
    wall_ms: float
    cpu_s: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One comparison: the median time of ours over the repeats, and what each rival needs.

    `wall_ms` is in milliseconds, `cpu_s` in seconds of all threads of this process; both of one
    run, on `threads` torch threads. `low` and `high` of a rival are the 95 % bootstrap interval of
    its median ratio.
    """

    repeats: int
    threads: int
    wall_ms: float
    cpu_s: float
    rivals: tuple[Rival, ...]


def interleaved(
    ours: Callable[[], object],
    rivals: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
) -> Measured:
    """Run ours and all rivals in turn, `warmup` rounds without a clock and `repeats` with one.

    Raises:
        InputError: fewer than one repeat.
    """
    if repeats < 1 or warmup < 0:
        raise InputError(f"{repeats} repeats after {warmup} to warm up; repeat at least once")
    runs = {"": ours, **rivals}
    in_a_row = dict.fromkeys(runs, 1)
    wall = {name: np.empty(repeats) for name in runs}
    cpu = {name: np.empty(repeats) for name in runs}
    for number in range(-warmup, repeats):
        for name in runs if number % 2 else reversed(runs):
            wall_s, cpu_s = _timed(runs[name], in_a_row[name])
            if number < 0:
                in_a_row[name] = max(1, round(SAMPLE_S / wall_s))
            else:
                wall[name][number], cpu[name][number] = wall_s, cpu_s
    return Measured(
        repeats=repeats,
        threads=torch.get_num_threads(),
        wall_ms=1000 * float(np.median(wall[""])),
        cpu_s=float(np.median(cpu[""])),
        rivals=tuple(_compare(name, wall[name], cpu[name], wall[""]) for name in rivals),
    )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many torch threads inside, as many as before after it."""
    found = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(found)


def _timed(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Seconds on the wall and of the CPU that one of several runs in a row takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    return (time.perf_counter() - wall) / times, (time.process_time() - cpu) / times


def _compare(
    name: str,
    wall: Float[np.ndarray, "R"],
    cpu: Float[np.ndarray, "R"],
    ours: Float[np.ndarray, "R"],
) -> Rival:
    ratios = wall / ours
    low, high = median_interval(ratios, rng=np.random.default_rng(0))
    return Rival(
        name=name,
        wall_ms=1000 * float(np.median(wall)),
        cpu_s=float(np.median(cpu)),
        ratio=float(np.median(ratios)),
        low=low,
        high=high,
    )


def median_interval(
    values: Float[np.ndarray, "R"], *, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median; too narrow for very few values."""
    draws = np.median(rng.choice(values, size=(NUM_DRAWS, len(values))), axis=1)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
