"""Run the fuzz: known seeds first, then new ones until the time is over."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, count
from pathlib import Path

from tests.fuzz.example import FAILURES, prepare_process, quick_ingests, run_example
from tests.fuzz.invariants import Outcome

SEEDS = Path(__file__).with_name("seeds.txt")


def known_seeds() -> list[int]:
    """The seeds of `seeds.txt`, one a line, each with a comment on what it found."""
    lines = (line.partition("#")[0].strip() for line in SEEDS.read_text().splitlines())
    return [int(line) for line in lines if line]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, help="run this example alone")
    parser.add_argument("--first", type=int, default=int(time.time()), help="first new seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed is not None:
        with quick_ingests():
            return int(_report(options.seed, *run_example(options.seed), every=True))
    print(f"first new seed: {options.first}", flush=True)
    seeds = chain(known_seeds(), count(options.first))
    return _run(seeds, options.jobs, time.monotonic() + 60 * options.minutes)


def _run(seeds: Iterator[int], jobs: int, end: float) -> int:
    totals: Counter[str] = Counter()
    next_line = time.monotonic() + 60
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, prepare_process) as pool:
        running: dict[Future[tuple[Outcome, list[str]]], int] = {}
        while running or time.monotonic() < end:
            while len(running) < 2 * jobs and time.monotonic() < end:
                seed = next(seeds)
                running[pool.submit(run_example, seed)] = seed
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                seed = running.pop(future)
                try:
                    outcome, steps = future.result()
                except BrokenProcessPool:
                    print(f"seed {seed} or one of {sorted(running.values())} ends the process")
                    return 1
                _count(totals, outcome)
                _report(seed, outcome, steps)
            if time.monotonic() > next_line:
                next_line += 60
                print(_describe(totals), flush=True)
    print(_describe(totals), flush=True)
    return 1 if totals["failures"] else 0


def _count(totals: Counter[str], outcome: Outcome) -> None:
    totals["examples"] += 1
    totals["refused"] += bool(outcome.refused)
    totals["failures"] += bool(outcome.failures)
    for name in ("stored", "skipped", "repaired"):
        totals[name] += getattr(outcome, name)
    totals.update(f"unnoticed {form}" for form in outcome.unnoticed)


def _describe(totals: Counter[str]) -> str:
    names = ("examples", "failures", "refused", "stored", "skipped", "repaired")
    unnoticed = sorted(name for name in totals if name.startswith("unnoticed"))
    return ", ".join(f"{name} {totals[name]}" for name in (*names, *unnoticed))


def _report(seed: int, outcome: Outcome, steps: list[str], *, every: bool = False) -> bool:
    if outcome.failures or every:
        print(f"seed {seed}: {'; '.join(steps)}")
        notes = [f"unnoticed: {text}" for text in outcome.unnoticed.values()]
        notes += [f"refused: {outcome.refused}"] if outcome.refused else []
        for line in [*outcome.failures, *(notes if every else [])]:
            print(f"  {line}")
        sys.stdout.flush()
    if outcome.failures:
        FAILURES.mkdir(exist_ok=True)
        with (FAILURES / "failures.txt").open("a") as file:
            file.write(f"{seed} {' | '.join(outcome.failures)} | {'; '.join(steps)}\n")
    return bool(outcome.failures)


if __name__ == "__main__":
    sys.exit(main())
