"""One fault run: kill a process at a random moment and compare the results with an undisturbed run.

Why a real command each time: only that shows what a user sees, and what stays behind.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.pipeline import ingest
from tests.orchestration.faults import targets
from tests.orchestration.faults.clusters import cluster, leftovers
from tests.orchestration.faults.command import ARMS, Command, progress, stamps
from tests.orchestration.faults.outcome import Outcome

SILENT_S = 62.0
"""A minute, and what it takes to say so."""
GONE_S = 60.0
"""A command whose cluster is gone ends within so many seconds."""
BACK_S = 30.0
"""A killed process is replaced within so many."""
NODE_BACK_S = 60.0
"""A lost node is known as lost only when its head has missed it for some time."""
TIMEOUT_S = 300.0
DELAY_S, START_S = 1.0, 15.0
"""Random time between a step and a kill; more before the first step, while Ray starts."""


@dataclass(frozen=True)
class Fault:
    """What is killed, on which cluster: the command's own without nodes, or the CPUs of each."""

    find: Callable[..., targets.Target | None]
    nodes: tuple[int, ...] = ()
    arms: str = ARMS
    words: tuple[str, ...] = ()
    is_retried: bool = True
    back_s: float = BACK_S

    def command(self, data: Path, out: Path, address: str | None) -> Command:
        """A campaign of this kind, started."""
        return Command(data, out, *self.words, arms=self.arms, address=address)


FAULTS = {
    "trial": Fault(targets.trial),
    "worker": Fault(
        targets.worker,
        (3,),
        "prior*severity,e2e severity",
        ("--folds", "0", "--set", "e2e severity.recipe.workers=2"),
    ),
    "node": Fault(targets.node, (2, 2), back_s=NODE_BACK_S),
    "driver": Fault(targets.driver, is_retried=False),
    "driver of a cluster": Fault(targets.driver, (2,), is_retried=False),
    "raylet": Fault(targets.own_raylet, is_retried=False),
    "gcs": Fault(targets.own_gcs, is_retried=False),
}


class FaultRunner:
    """A store, and the undisturbed campaign of each setting with its results and seconds.

    Every limit of time is multiplied with `patience`, for machines that are busy with other work.
    """

    def __init__(self, folder: Path, *, patience: float = 1.0) -> None:
        self.folder, self.data, self.patience = folder, folder / "store", patience
        self.known: dict[tuple[str, ...], tuple[Any, int]] = {}
        if not self.data.exists():
            ingest(
                "phantom", None, self.data, patients=24, clips=2, frames=8, size=64, masks="none"
            )

    def run_undisturbed(self, kind: Fault) -> tuple[Any, int]:
        """Results of a campaign that nothing happens to, and how many steps it takes."""
        key = (kind.arms, *kind.words)  # the cluster changes no result
        if key not in self.known:
            out = Path(tempfile.mkdtemp(prefix="undisturbed-", dir=self.folder))
            with cluster(kind.nodes) as (address, _):
                command = kind.command(self.data, out, address)
                try:
                    if command.wait(TIMEOUT_S * self.patience) != 0:
                        raise RuntimeError("\n".join(command.lines))
                finally:
                    command.process.kill()
            self.known[key] = results(out), progress(out)
        return self.known[key]

    def run(self, name: str, seed: int) -> Outcome:
        """Kill one process of a campaign and see it to its end."""
        kind, outcome = FAULTS[name], Outcome(name, seed)
        expected, steps = self.run_undisturbed(kind)
        chance = random.Random(f"{name} {seed}")
        out = Path(tempfile.mkdtemp(prefix=f"{name}-{seed}-", dir=self.folder))
        moment = chance.randrange(steps)
        with cluster(kind.nodes) as (address, raylet):
            command = kind.command(self.data, out, address)
            try:
                kept = _disturb(command, kind, raylet, moment, chance, outcome, self.patience)
            finally:
                outcome.code = _code(command, 0.1)
            outcome.silent_s = command.silent_s
            if outcome.code is None:
                outcome.violations.append(f"still ran after {command.seconds:.0f} s")
            _check_screen(command, kind, outcome)
            outcome.violations += [f"left over: {left}" for left in command.left_over()]
            outcome.kept = len(kept)
            if outcome.code != 0:
                kept = {**stamps(out), **kept}
                again = kind.command(self.data, out, address)
                if (code := _code(again, TIMEOUT_S * self.patience)) != 0:
                    outcome.violations.append(f"run again: exit {code}: {again.lines[-1:]}")
                outcome.silent_s = max(outcome.silent_s, again.silent_s)
                outcome.violations += [f"left over: {left}" for left in again.left_over()]
            outcome.violations += leftovers(address)
        outcome.seconds = command.seconds
        if outcome.silent_s > SILENT_S * self.patience:
            outcome.violations.append(f"{outcome.silent_s:.0f} s of silence")
        after = stamps(out)
        if lost := [path for path, stamp in kept.items() if after.get(path) != stamp]:
            outcome.violations.append(f"{len(lost)} finished cells were written anew")
        if not (out / "report.json").exists() or results(out) != expected:
            outcome.violations.append(f"other results: {out}")
        return outcome


def _disturb(
    command: Command,
    kind: Fault,
    raylet: int | None,
    moment: int,
    chance: random.Random,
    outcome: Outcome,
    patience: float,
) -> dict[Path, int]:
    """Kill a process a little after so many steps, as soon as there is one; wait for the end.

    Steps and not seconds, as a machine may have other work. Gives the cells that were finished
    when it was killed, with the times of their files.
    """
    while progress(command.out) < moment and command.process.poll() is None:
        time.sleep(0.05)
    time.sleep(chance.uniform(0.0, DELAY_S if moment else START_S))
    while (found := kind.find(command, raylet, chance)) is None:
        if command.process.poll() is not None:
            outcome.was_too_late = True
            return {}
        time.sleep(0.02)
    before = {folder: _lines(folder) for folder in found[1]}
    others = {
        folder: _num_starts(folder)
        for folder in targets.starts(command.out).values()
        if folder not in found[1]
    }
    kept = stamps(command.out)
    for pid in found[0]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    outcome.at_s, killed = command.seconds, time.monotonic()
    if kind.is_retried:
        for folder, lines in before.items():
            while _lines(folder) == lines and not _finished(command.out, folder):
                if (
                    command.process.poll() is not None
                    or time.monotonic() - killed > TIMEOUT_S * patience
                ):
                    break
                time.sleep(0.05)
        outcome.back_s = time.monotonic() - killed
        if outcome.back_s > kind.back_s * patience:
            outcome.violations.append(f"back after {outcome.back_s:.0f} s")
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait((TIMEOUT_S if kind.is_retried else GONE_S) * patience)
        outcome.ended_s = None if kind.is_retried else time.monotonic() - killed
    if kind.is_retried:
        again = [folder for folder, number in others.items() if _num_starts(folder) != number]
        outcome.violations += [f"begun anew, though untouched: {folder}" for folder in again]
    return kept


def _code(command: Command, most_s: float) -> int | None:
    """How it ended; None where it did not in time and is killed."""
    try:
        return command.wait(most_s)
    except subprocess.TimeoutExpired:
        command.process.kill()
        command.wait(10)
        return None


def _check_screen(command: Command, kind: Fault, outcome: Outcome) -> None:
    """One line of ours tells how it ended; nothing of Ray's and no traceback stands there."""
    outcome.last_line = command.lines[-1] if command.lines else ""
    if kind.is_retried and outcome.code != 0:
        outcome.violations.append(f"exit {outcome.code}: {outcome.last_line}")
    if noise := [line for line in command.lines if _is_noise(line)]:
        outcome.violations.append(f"on the screen: {noise[0][:120]!r} ({len(noise)} lines)")
    ended = outcome.code == 1 and outcome.last_line.startswith("lus: ")
    if outcome.kind in ("raylet", "gcs") and outcome.code != 0 and not ended:
        outcome.violations.append(f"exit {outcome.code}: {outcome.last_line!r}")


def _is_noise(line: str) -> bool:
    words = ("Traceback", "  File ", "raise ", "[20", "*** SIG", "core_worker", "Stack trace")
    return line.startswith("(") or any(word in line for word in words)


def results(out: Path) -> Any:
    """The arms of the report without what a second run may change: cost."""
    return _without_cost(json.loads((out / "report.json").read_text())["arms"])


def _without_cost(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_cost(entry) for key, entry in value.items() if key != "cost"}
    return [_without_cost(entry) for entry in value] if isinstance(value, list) else value


def _num_starts(folder: Path) -> int:
    return len(json.loads((folder / "starts.json").read_text()))


def _lines(folder: Path) -> str:
    path = folder / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def _finished(out: Path, folder: Path) -> bool:
    return (out / "predictions" / folder.parent.name / f"{folder.name}.parquet").exists()
