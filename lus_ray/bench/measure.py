"""How a ratio is measured: in turn, in one process, with an interval and with CPU seconds.

Letters: R repeats.
Why in turn: on a machine that others share, speed drifts by more than most ratios; two runs side
by side in time see the same drift, so that their ratio keeps what each of them loses. The order
turns round with every repeat. A run of a millisecond is done several times in a row, as one
sample. CPU seconds tell time used from time waited.
Why one thread is often the right number: a parallel loop waits for its slowest thread, and where
another process holds that core, it is the waiting that gets measured.
Memory is watched in the rounds without a clock, so that watching costs no time that counts.
That all runs do the same work is for the caller to check before anything is timed.
"""

import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from jaxtyping import Float

from lus_ray.errors import InputError

NUM_DRAWS = 2000
LEVEL = 0.95
WATCH_S = 0.01
SAMPLE_S = 0.02
"""After a warm-up, which says how long a run takes, a sample lasts at least about this long."""


@dataclass(frozen=True)
class Rival:
    """A rival's median time and the median of its paired ratios: above 1, ours is faster."""

    name: str
    wall_ms: float
    cpu_s: float
    peak_mb: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One comparison: the median time of ours over the repeats, and what each rival needs.

    `wall_ms` is in milliseconds, `cpu_s` in seconds of all threads of this process and of its
    children, both of one run, on `threads` torch threads. `peak_mb` is what a run adds to the
    memory of this process and its children at its highest, in MiB; 0 where nobody watched. `low`
    and `high` of a rival are the 95 % bootstrap interval of its median ratio. `target` is the
    ratio to reach against each rival; without rivals, the milliseconds to stay below.
    """

    repeats: int
    threads: int
    wall_ms: float
    cpu_s: float
    peak_mb: float
    rivals: tuple[Rival, ...]
    target: float | None = None


def interleaved(
    ours: Callable[[], object],
    rivals: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    target: float | None = None,
    children: bool = False,
) -> Measured:
    """Run ours and all rivals in turn, `warmup` rounds without a clock and `repeats` with one.

    With `children`, the CPU seconds and the memory of processes that a run starts count as well.

    Raises:
        InputError: fewer than one repeat.
    """
    if repeats < 1 or warmup < 0:
        raise InputError(f"{repeats} repeats after {warmup} to warm up; repeat at least once")
    runs = {"": ours, **rivals}
    in_a_row = dict.fromkeys(runs, 1)
    wall = {name: np.empty(repeats) for name in runs}
    cpu = {name: np.empty(repeats) for name in runs}
    peak = dict.fromkeys(runs, 0.0)
    for number in range(-warmup, repeats):
        for name in runs if number % 2 else reversed(runs):
            with watched(children) if number < 0 else nullcontext([0.0]) as highest:
                wall_s, cpu_s = _timed(runs[name], in_a_row[name], children)
            if number < 0:
                peak[name] = max(peak[name], *highest)
                in_a_row[name] = max(1, round(SAMPLE_S / wall_s))
            else:
                wall[name][number], cpu[name][number] = wall_s, cpu_s
    return Measured(
        repeats=repeats,
        threads=torch.get_num_threads(),
        wall_ms=1000 * float(np.median(wall[""])),
        cpu_s=float(np.median(cpu[""])),
        peak_mb=peak[""],
        rivals=tuple(
            _compare(name, wall[name], cpu[name], wall[""], peak[name]) for name in rivals
        ),
        target=target,
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


@contextmanager
def watched(children: bool) -> Iterator[list[float]]:
    """Gives a list; afterwards it holds how much memory was added at most inside, in MiB."""
    process, over = psutil.Process(), threading.Event()
    before, highest = _held(process, children), [0.0]

    def watch() -> None:
        while not over.wait(WATCH_S):
            highest[0] = max(highest[0], (_held(process, children) - before) / 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        over.set()
        thread.join()


def _held(process: psutil.Process, children: bool) -> int:
    """Bytes of the process that are its own, and of its children; what they share counts once."""
    total = 0
    for each in [process, *(process.children(recursive=True) if children else ())]:
        with suppress(psutil.Error):
            held = each.memory_info()
            total += held.rss - (held.shared if each != process else 0)
    return total


def _cpu_s(children: bool) -> float:
    """CPU seconds of this process so far; with children, of those that ended and those that run."""
    total = time.process_time()
    if children:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        total += ended.ru_utime + ended.ru_stime
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                total += sum(child.cpu_times()[:4])
    return total


def _timed(run: Callable[[], object], times: int, children: bool) -> tuple[float, float]:
    """Seconds on the wall and of the CPU that one of several runs in a row takes.

    What a run returns is let go when the clock has stopped: to close it is no part of the run.
    """
    returned = None
    cpu, wall = _cpu_s(children), time.perf_counter()
    for _ in range(times):
        returned = run()
    wall = time.perf_counter() - wall
    cpu = max(0.0, _cpu_s(children) - cpu)
    del returned
    return wall / times, cpu / times


def _compare(
    name: str,
    wall: Float[np.ndarray, "R"],
    cpu: Float[np.ndarray, "R"],
    ours: Float[np.ndarray, "R"],
    peak_mb: float,
) -> Rival:
    ratios = wall / ours
    low, high = median_interval(ratios, rng=np.random.default_rng(0))
    return Rival(
        name=name,
        wall_ms=1000 * float(np.median(wall)),
        cpu_s=float(np.median(cpu)),
        peak_mb=peak_mb,
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
