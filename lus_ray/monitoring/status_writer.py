"""The status of a campaign, which its driver keeps in `campaign.json` of the run folder.

Why a file: reading it needs no cluster, and a heartbeat that stops shows that the driver is gone.
"""

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from lus_ray.errors import LusError
from lus_ray.monitoring.events import Observer
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import STATUS, RunFolder
from lus_ray.storage.files import write_text

MIN_INTERVAL_S, HEARTBEAT_S = 2.0, 10.0
JOIN_TIMEOUT_S = 30.0
NUM_MESSAGES = 50


class StatusWriter(Observer):
    """Writes `campaign.json` while a campaign runs; a context manager.

    `cells` are those of the table. A thread writes the file after events, at most every 2 s, and
    as a heartbeat every 10 s. A failed write is tried again and never stops the campaign.
    """

    def __init__(
        self, folder: RunFolder, cells: Sequence[Cell], *, address: str = "local",
        dashboard: str | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.path = folder, folder.path / STATUS
        self.num_cells = len({_key(cell) for cell in cells})
        self.finished = {_key(cell) for cell in cells if folder.cell(cell).is_finished}
        self.blocked: set[tuple[str, int, int]] = set()
        self.running: dict[Cell, dict[str, Any]] = {}
        self.failed: dict[Cell, str] = {}
        self.messages: deque[tuple[float, str]] = deque(maxlen=NUM_MESSAGES)
        self.driver = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "address": address,
            "dashboard": f"http://{dashboard.removeprefix('http://')}" if dashboard else None,
            "began": time.time(),
        }
        self.outcome: dict[str, Any] = {"ended": None, "outcome": None}
        self.lock = threading.Lock()
        self.changed, self.stopped = threading.Event(), threading.Event()
        self.thread = threading.Thread(
            target=self._write_repeatedly, name="lus-status", daemon=True
        )

    def __enter__(self) -> "StatusWriter":
        self._write()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self.stopped.set()
        self.changed.set()
        self.thread.join(JOIN_TIMEOUT_S)
        outcome = "finished"
        if kind is not None:
            outcome = "failed" if issubclass(kind, Exception) else "interrupted"
        self.outcome = {"ended": time.time(), "outcome": outcome}
        self._write()

    def on_start(self, cell: Cell) -> None:
        with self._changing():
            self.failed.pop(cell, None)
            self.running[cell] = {"since": time.time(), "epoch": None, "score": None}

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        if "epoch" not in values or cell not in self.running:
            return
        score = float(values.get("val_score", math.nan))
        with self._changing():
            self.running[cell] |= {
                "epoch": int(values["epoch"]),
                "score": score if math.isfinite(score) else None,
            }

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        with self._changing():
            self.running.pop(cell, None)
            if error is not None:
                self.failed[cell] = error
            elif cell.sample is None:
                self.finished.add(_key(cell))

    def on_blocked(self, cell: Cell) -> None:
        with self._changing():
            self.blocked.add(_key(cell))

    def notify(self, text: str) -> None:
        with self._changing():
            self.messages.append((time.time(), text))

    def contents(self) -> dict[str, Any]:
        with self.lock:
            failed = {_key(cell) for cell in self.failed if cell.sample is None}
            started = self.finished | self.blocked | failed | {_key(cell) for cell in self.running}
            return {
                **self.driver,
                "beat": time.time(),
                **self.outcome,
                "cells": self.num_cells,
                "finished": len(self.finished),
                "running": {cell.name: dict(values) for cell, values in self.running.items()},
                "waiting": self.num_cells - len(started),
                "failed": {cell.name: error for cell, error in self.failed.items()},
                "said": [list(message) for message in self.messages],
            }

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self.lock:
            yield
        self.changed.set()

    def _write_repeatedly(self) -> None:
        while not self.stopped.wait(MIN_INTERVAL_S):
            self.changed.wait(HEARTBEAT_S - MIN_INTERVAL_S)
            self.changed.clear()
            self._write()

    def _write(self) -> None:
        text = json.dumps(self.contents(), indent=1) + "\n"
        # A full disk or unreachable storage may be back at the next heartbeat.
        with contextlib.suppress(OSError, LusError):
            write_text(self.path, text)
            self.folder.upload(STATUS)


def _key(cell: Cell) -> tuple[str, int, int]:
    return cell.arm, cell.fold, cell.seed
