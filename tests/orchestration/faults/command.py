"""A `lus run` as a user types it, watched: what it says, and how long nothing moves."""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]
ARMS = "prior*severity,biomarkers,e2e severity,RF on biomarkers*severity"
WORDS = ("--folds", "0,1", "--set", "arm.recipe.epochs=6")
AS_NICE = {"RAY_worker_niceness": "0"}
"""Ray makes cells nicer than their driver, and then a busy machine starves them for minutes."""
MARK = "LUS_FAULT_RUN"
"""Set for a command, and so for every process that it starts."""


class Command:
    """A campaign of a few arms in its smoke size; the state of a network is kept every epoch."""

    def __init__(
        self, data: Path, out: Path, *more: str, arms: str = ARMS, address: str | None = None
    ) -> None:
        words = ["run", "biomarkers", "--smoke", "--data", data, "--out", out, "--arms", arms]
        words += [*WORDS, *more, *(["--address", address] if address else [])]
        self.out, self.mark = out, secrets.token_hex(8)
        mine = {"LUS_STATE_SECONDS": "0", "OMP_NUM_THREADS": "1", **AS_NICE, MARK: self.mark}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **mine},
        )  # fmt: skip
        self.lines: list[str] = []
        self.silent_s = 0.0
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=run, daemon=True) for run in (self._read, self._see)
        ]
        for thread in self.threads:
            thread.start()

    def wait(self, most_s: float) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        try:
            return self.process.wait(most_s)
        finally:
            if self.process.poll() is not None:
                self.over.set()
                for thread in self.threads:
                    thread.join(5)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def alive(self) -> list[psutil.Process]:
        """Every process that it started, and that runs."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get(MARK) == self.mark
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left_over(self, patience_s: float = 15.0) -> list[str]:
        """Processes that outlive it by `patience_s`."""
        deadline = time.monotonic() + patience_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.3)
        return [f"{process.pid} {process.name()}" for process in left]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def _see(self) -> None:
        """Measure the longest time without a line, an epoch or a finished cell."""
        known, since = None, time.monotonic()
        while not self.over.wait(0.25):
            now = (len(self.lines), progress(self.out))
            if now != known:
                known, since = now, time.monotonic()
            self.silent_s = max(self.silent_s, time.monotonic() - since)


def progress(out: Path) -> int:
    """How many epochs and cells are finished."""
    lines = 0
    for path in out.glob("cells/**/metrics.jsonl"):
        with contextlib.suppress(OSError):
            lines += path.read_text().count("\n")
    return lines + len(stamps(out))


def stamps(out: Path) -> dict[Path, int]:
    """When each finished cell was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("predictions/**/fold*.parquet")}
