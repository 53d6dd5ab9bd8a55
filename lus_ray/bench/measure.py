"""How a ratio is measured: in turn, in one process, with an interval and with CPU seconds.

Letters: R repeats.
Why in turn: on a shared machine speed drifts by more than most ratios; two runs side by side in
time see the same drift. The order is reversed with every repeat. Why one thread is often right: a
parallel loop waits for its slowest thread, and another process may hold that core.
"""

import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from lus_ray.errors import LusError

SAMPLE_S = 0.02  # the least that a sample lasts after a warm-up, about


Run = Callable[..., Any]
"""One run of a side without arguments; a check may give it smaller sizes by keyword."""

Check = Callable[[Run, Run, str], None]
"""Of ours, a rival and its name; raises LusError if they compute something else."""


@dataclass(frozen=True)
class Rival:
    """Median time of a rival; median and 95 % bootstrap interval of its ratios to ours."""

    name: str
    wall_ms: float
    cpu_s: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """The median time of ours over the repeats, and its rivals.

    `cpu_s` are CPU seconds of one run, children included, on `threads` torch threads. `target` is
    the ratio to reach; without rivals, the milliseconds to stay below.
    """

    repeats: int
    threads: int
    wall_ms: float
    cpu_s: float
    rivals: tuple[Rival, ...] = ()
    target: float | None = None


@dataclass(frozen=True)
class Timings:
    """Seconds of each repeat, and the median CPU seconds of a run."""

    wall_s: Float[np.ndarray, "R"]
    cpu_s: float = 0.0

    @property
    def wall_ms(self) -> float:
        return 1000 * float(np.median(self.wall_s))


@dataclass(frozen=True)
class Comparison:
    """A row: ours and its rivals on the same inputs, checked for equal work, then run in turn.

    A run that returns an iterator ends with its last item. `target` as in `Result`. With
    `children`, child processes count as well. A slow row has fewer `repeats` than others and no
    warm-up. Warm-up rounds find how often a short run is repeated in a sample.
    """

    ours: Run
    rivals: Mapping[str, Run] = field(default_factory=dict)
    check: Check | None = None
    target: float | None = None
    children: bool = False
    repeats: int | None = None
    warmup: int = 1

    def measure(self, repeats: int) -> Result:
        """The result of so many repeats, or of its own number if that is smaller.

        Raises:
            LusError: a rival does other work.
        """
        for name, rival in self.rivals.items():
            if self.check is not None:
                self.check(self.ours, rival, name)
        repeats = min(repeats, self.repeats or repeats)
        runs = {"": self.ours, **self.rivals}
        in_a_row = dict.fromkeys(runs, 1)
        wall, cpu = ({name: np.empty(repeats) for name in runs} for _ in range(2))
        for number in range(-self.warmup, repeats):
            for name in runs if number % 2 else reversed(runs):
                wall_s, cpu_s = _timed(runs[name], in_a_row[name], self.children)
                if number < 0:
                    in_a_row[name] = max(1, round(SAMPLE_S / wall_s))
                else:
                    wall[name][number], cpu[name][number] = wall_s, cpu_s
        sides = {name: Timings(wall[name], float(np.median(cpu[name]))) for name in runs}
        return compare_timings(sides.pop(""), sides, target=self.target)


def compare_timings(
    ours: Timings, rivals: Mapping[str, Timings], *, target: float | None = None
) -> Result:
    """Ratios of the rivals' seconds to ours, repeat by repeat, as median and 95 % interval."""
    rows = []
    for name, theirs in rivals.items():
        ratios = theirs.wall_s / ours.wall_s
        low, high = median_interval(ratios, rng=np.random.default_rng(0))
        median = float(np.median(ratios))
        rows.append(Rival(name, theirs.wall_ms, theirs.cpu_s, median, low, high))
    return Result(
        repeats=len(ours.wall_s),
        threads=torch.get_num_threads(),
        wall_ms=ours.wall_ms,
        cpu_s=ours.cpu_s,
        rivals=tuple(rows),
        target=target,
    )


def single_result(value_ms: float, limit_ms: float) -> Result:
    """A row that is measured once, in milliseconds."""
    return compare_timings(Timings(np.array([value_ms / 1000])), {}, target=limit_ms)


def median_interval(
    values: Float[np.ndarray, "R"], *, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median; too narrow for very few values."""
    medians = np.median(rng.choice(values, size=(2000, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def refuse(reason: str) -> NoReturn:
    """Raise a LusError that gives no ratio for this reason."""
    raise LusError(f"{reason}; no ratio is given for unequal work")


def check_close(
    subjects: Iterable[str],
    ours: Iterable[Tensor],
    theirs: Iterable[Tensor],
    *,
    atol: float,
    rtol: float = 0.0,
) -> None:
    """Raise LusError, naming its subject, if a tensor of a rival differs from ours."""
    for subject, values, others in zip(subjects, ours, theirs, strict=False):
        if not torch.allclose(values, others, rtol=rtol, atol=atol):
            off = (values - others).abs().max().item()
            refuse(f"{subject} differ from ours by {off:.1e}")


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_s(children: bool) -> float:
    total = time.process_time()
    if children:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        total += ended.ru_utime + ended.ru_stime
        total += sum_cpu_s(psutil.Process().children(recursive=True))
    return total


def sum_cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds so far of these processes and of their children that ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def _timed(run: Run, times: int, children: bool) -> tuple[float, float]:
    """Wall and CPU seconds of a run, without the release of what it returns."""
    returned = None
    cpu, wall = _cpu_s(children), time.perf_counter()
    for _ in range(times):
        returned = run()
        if isinstance(returned, Iterator):
            deque(returned, maxlen=0)
    wall = time.perf_counter() - wall
    cpu = max(0.0, _cpu_s(children) - cpu)
    del returned
    return wall / times, cpu / times
