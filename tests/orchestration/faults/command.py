"""A `lus run` as a user types it, watched: its output, and how long it is silent."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[3]
ARMS = "prior*severity,biomarkers,e2e severity,RF on biomarkers*severity"
OPTIONS = ("--folds", "0,1", "--set", "arm.recipe.epochs=6")
SAME_PRIORITY = {"RAY_worker_niceness": "0"}
"""Ray makes cells nicer than their driver, and then a busy machine starves them for minutes."""
MARK = "LUS_FAULT_RUN"
"""Environment variable of a command and every process that it starts."""


class Command:
    """A campaign of a few arms in smoke size, which saves training states after every epoch."""

    def __init__(
        self, data: Path, out: Path, *options: str, arms: str = ARMS, address: str | None = None
    ) -> None:
        words = ["run", "biomarkers", "--smoke", "--data", data, "--out", out, "--arms", arms]
        words += [*OPTIONS, *options, *(["--address", address] if address else [])]
        self.out, self.mark = out, secrets.token_hex(8)
        variables = {"LUS_STATE_SECONDS": "0", "OMP_NUM_THREADS": "1", MARK: self.mark}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **SAME_PRIORITY, **variables},
        )  # fmt: skip
        self.lines: list[str] = []
        self.silent_s = 0.0
        targets = (self._read, self._measure_silence)
        self.threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self.threads:
            thread.start()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code; None if the command ran longer and was killed."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            self.process.kill()
            self.process.wait(10)
        for thread in self.threads:
            thread.join(5)
        return code

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def wait_for_a_cell(self) -> None:
        while not finished_cells(self.out):
            assert self.process.poll() is None
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """The living processes that it started."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_own = process.environ().get(MARK) == self.mark
                if is_own and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return processes

    def left_over(self, patience_s: float = 15.0) -> list[str]:
        """Processes that outlive it by `patience_s`."""
        deadline = time.monotonic() + patience_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.3)
        return [f"left over: {process.pid} {process.name()}" for process in left]

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(map(str.rstrip, self.process.stderr))

    def _measure_silence(self) -> None:
        """The longest time without a line."""
        known, since = 0, time.monotonic()
        while self.process.poll() is None:
            if len(self.lines) != known:
                known, since = len(self.lines), time.monotonic()
            self.silent_s = max(self.silent_s, time.monotonic() - since)
            time.sleep(0.25)


def count_steps(out: Path) -> int:
    """Finished epochs and cells."""
    num_epochs = 0
    for path in out.glob("cells/**/metrics.jsonl"):
        with contextlib.suppress(OSError):
            num_epochs += path.read_text().count("\n")
    return num_epochs + len(finished_cells(out))


def finished_cells(out: Path) -> dict[Path, int]:
    """Prediction files and their modification times."""
    return {path: path.stat().st_mtime_ns for path in out.glob("predictions/**/fold*.parquet")}


def results(out: Path) -> Any:
    """The arms of the report without their cost, which varies."""
    return _without_cost(json.loads((out / "report.json").read_text())["arms"])


def _without_cost(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_cost(entry) for key, entry in value.items() if key != "cost"}
    return [_without_cost(entry) for entry in value] if isinstance(value, list) else value
