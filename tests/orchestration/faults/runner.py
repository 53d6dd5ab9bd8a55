"""One fault run: kill a process at a random moment and compare with an undisturbed run.

A real command each time shows what a user sees, and what stays behind.
"""

import contextlib
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.pipeline import ingest
from tests.orchestration.faults import targets
from tests.orchestration.faults.clusters import cluster, leftovers
from tests.orchestration.faults.command import ARMS, Command, count_steps, finished_cells, results

SILENT_S = 10.0
"""A command prints a line at least this often, also while it looks for its cluster."""
GONE_S = 60.0
"""A command whose cluster is gone ends within so many seconds."""
RETRY_S, NODE_RETRY_S = 30.0, 60.0
"""A killed process is replaced within so many seconds; a lost node is noticed later."""
TIMEOUT_S = 300.0
DELAY_S, START_S = 1.0, 15.0
"""Random time between a step and a kill; more before the first step, while Ray starts."""
NOISE = ("Traceback", "  File ", "raise ", "[20", "*** SIG", "core_worker", "Stack trace")


@dataclass(frozen=True)
class Fault:
    """What is killed; `nodes` are the CPUs of each node, none for the command's own cluster."""

    find: Callable[..., targets.Target | None]
    nodes: tuple[int, ...] = ()
    arms: str = ARMS
    options: tuple[str, ...] = ()
    is_retried: bool = True
    retry_s: float = RETRY_S

    def start(self, data: Path, out: Path, address: str | None) -> Command:
        return Command(data, out, *self.options, arms=self.arms, address=address)


WORKERS = ("--folds", "0", "--set", "e2e severity.recipe.workers=2")
OWN_RAY = ("--dashboard",)
"""A small run starts Ray if it is asked for a dashboard, and forks its cells otherwise."""
FAULTS = {
    "trial": Fault(targets.trial),
    "worker": Fault(targets.train_worker, (3,), "prior*severity,e2e severity", WORKERS),
    "node": Fault(targets.node, (2, 2), retry_s=NODE_RETRY_S),
    "driver": Fault(targets.driver, is_retried=False),
    "driver of a cluster": Fault(targets.driver, (2,), is_retried=False),
    "raylet": Fault(targets.own_raylet, options=OWN_RAY, is_retried=False),
    "gcs": Fault(partial(targets.own_raylet, name="gcs_server"), options=OWN_RAY, is_retried=False),
}


class FaultRunner:
    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "store"
        self.undisturbed: dict[tuple[str, ...], tuple[Any, int]] = {}
        ingest("phantom", None, self.data, patients=24, clips=2, frames=8, size=64, masks="none")

    def run_undisturbed(self, fault: Fault) -> tuple[Any, int]:
        key = (fault.arms, *fault.options)  # the cluster changes no result
        if key not in self.undisturbed:
            out = Path(tempfile.mkdtemp(dir=self.folder))
            with cluster(fault.nodes) as (address, _):
                command = fault.start(self.data, out, address)
                assert command.wait(TIMEOUT_S) == 0, command.lines
            self.undisturbed[key] = results(out), count_steps(out)
        return self.undisturbed[key]

    def run(self, name: str, seed: int) -> list[str] | None:
        """Broken promises; None if the campaign ended before its random moment."""
        fault, rng = FAULTS[name], random.Random(f"{name} {seed}")
        expected, num_steps = self.run_undisturbed(fault)
        out = Path(tempfile.mkdtemp(dir=self.folder))
        with cluster(fault.nodes) as (address, raylet):
            command = fault.start(self.data, out, address)
            commands = [command]
            try:
                target = _wait_for_target(command, fault, raylet, num_steps, rng)
                if target is None:
                    return None
                kept = finished_cells(out)
                code, violations = _kill(command, fault, target)
            finally:
                command.process.kill()
            violations += [*_check_output(command, name, code), *command.left_over()]
            if code != 0:
                kept = {**finished_cells(out), **kept}
                commands.append(fault.start(self.data, out, address))
                if (code := commands[1].wait(TIMEOUT_S)) != 0:
                    violations.append(f"run again: exit {code}: {commands[1].lines[-1:]}")
                violations += commands[1].left_over()
            violations += leftovers(address)
        if (silent_s := max(command.silent_s for command in commands)) > SILENT_S:
            violations.append(f"{silent_s:.0f} s of silence")
        if not kept.items() <= finished_cells(out).items():
            violations.append("finished cells were written again")
        violations += [f"left over: {path}" for path in out.glob("predictions/*/.fold*")]
        if not (out / "report.json").exists() or results(out) != expected:
            violations.append(f"other results: {out}")
        return violations


def _wait_for_target(
    command: Command, fault: Fault, raylet: int | None, num_steps: int, rng: random.Random
) -> targets.Target | None:
    """Wait a little longer than a random number of steps; seconds depend on other load."""
    moment = rng.randrange(num_steps)
    while count_steps(command.out) < moment and command.process.poll() is None:
        time.sleep(0.05)
    time.sleep(rng.uniform(0.0, DELAY_S if moment else START_S))
    while (target := fault.find(command, raylet, rng)) is None and command.process.poll() is None:
        time.sleep(0.02)
    return target


def _kill(command: Command, fault: Fault, target: targets.Target) -> tuple[int | None, list[str]]:
    """Kill the processes and wait for the end: the exit code, and broken promises."""
    pids, cells = target
    metrics = {cell: _metrics(cell) for cell in cells}
    untouched = set(targets.running_cells(command.out).values()) - set(cells)
    num_starts = {cell: _num_starts(cell) for cell in untouched}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not fault.is_retried:
        code = command.wait(GONE_S)
        return code, [] if code is not None else ["still ran"]
    killed = time.monotonic()

    def is_waiting() -> bool:
        return any(
            _metrics(cell) == before and not targets.is_finished(command.out, cell)
            for cell, before in metrics.items()
        )

    while is_waiting() and command.process.poll() is None and time.monotonic() - killed < TIMEOUT_S:
        time.sleep(0.05)
    retry_s = time.monotonic() - killed
    violations = [f"retried after {retry_s:.0f} s"] if retry_s > fault.retry_s else []
    code = command.wait(TIMEOUT_S)
    violations += [] if code == 0 else [f"exit {code}: {command.lines[-1:]}"]
    restarted = [cell for cell, number in num_starts.items() if _num_starts(cell) != number]
    return code, violations + [f"restarted, though untouched: {cell}" for cell in restarted]


def _check_output(command: Command, name: str, code: int | None) -> list[str]:
    """A lost cluster is reported in one line of ours; nothing of Ray's and no traceback appears."""
    noise = [f"output: {line[:120]}" for line in command.lines
             if line.startswith("(") or any(word in line for word in NOISE)]  # fmt: skip
    last = command.lines[-1] if command.lines else ""
    if name in ("raylet", "gcs") and code != 0 and not (code == 1 and last.startswith("lus: ")):
        noise.append(f"exit {code}: {last!r}")
    return noise


def _num_starts(cell: Path) -> int:
    return len(json.loads((cell / "starts.json").read_text()))


def _metrics(cell: Path) -> str:
    path = cell / "metrics.jsonl"
    return path.read_text() if path.exists() else ""
