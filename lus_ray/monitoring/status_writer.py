"""The driver's signs: `campaign.json` in the run folder says who drives it and how far it is.

Why a file: whoever watches needs no Ray and no cluster, and a beat that stops tells that the
driver is gone, whatever ended it.
"""

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from lus_ray.errors import LusError
from lus_ray.runs.cell import Cell
from lus_ray.storage.files import write_text

NAME = "campaign.json"
LEAST_SECONDS = 2.0
MOST_SECONDS = 10.0
END_SECONDS = 30.0
NUM_LINES = 50


class StatusWriter:
    """Keeps `campaign.json` of a run folder while a campaign runs; a `Observer`, and a context.

    `cells` are those of the table. A thread writes the file when something happened, at most
    every two seconds, and as a beat every ten; `push` is called after each writing, where the
    folder is a copy of one elsewhere. A file that cannot be written is tried again: signs never
    stop a campaign.
    """

    def __init__(
        self, out: Path, cells: Sequence[Cell], *, push: Callable[[], None] | None = None
    ) -> None:
        self.path, self.push = out / NAME, push or (lambda: None)
        self.num_cells = len({_place(cell) for cell in cells})
        self.finished = {_place(cell) for cell in cells if cell.finished(out)}
        self.stuck: set[tuple[str, int]] = set()
        self.running: dict[Cell, dict[str, Any]] = {}
        self.failed: dict[Cell, str] = {}
        self.said: deque[tuple[float, str]] = deque(maxlen=NUM_LINES)
        self.driver = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "address": "local",
            "dashboard": None,
            "began": time.time(),
        }
        self.end: dict[str, Any] = {"ended": None, "outcome": None}
        self.lock, self.news, self.over = threading.Lock(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._keep, name="lus-signs", daemon=True)

    def __enter__(self) -> "StatusWriter":
        if ray.is_initialized():
            self.driver["address"] = ray.get_runtime_context().gcs_address
            self.driver["dashboard"] = dashboard()
        self._write()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        """Write last how it ended."""
        self.over.set()
        self.news.set()
        self.thread.join(END_SECONDS)
        self.end = {"ended": time.time(), "outcome": _outcome(kind)}
        self._write()

    def on_start(self, cell: Cell) -> None:
        """See `Observer`."""
        with self._telling():
            self.failed.pop(cell, None)
            self.running[cell] = {"since": time.time(), "epoch": None, "score": None}

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """See `Observer`."""
        if "epoch" not in values or cell not in self.running:
            return
        score = float(values.get("val_score", math.nan))
        with self._telling():
            self.running[cell] |= {
                "epoch": int(values["epoch"]),
                "score": score if math.isfinite(score) else None,
            }

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """See `Observer`."""
        with self._telling():
            self.running.pop(cell, None)
            if error is not None:
                self.failed[cell] = error
            elif cell.sample is None:
                self.finished.add(_place(cell))

    def on_blocked(self, cell: Cell) -> None:
        """See `Observer`."""
        with self._telling():
            self.stuck.add(_place(cell))

    def notify(self, text: str) -> None:
        """See `Observer`."""
        with self._telling():
            self.said.append((time.time(), text))

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        with self.lock:
            yield
        self.news.set()

    def _keep(self) -> None:
        """Write when there is news, and a beat without; ends with the campaign."""
        while not self.over.wait(LEAST_SECONDS):
            self.news.wait(MOST_SECONDS - LEAST_SECONDS)
            self.news.clear()
            self._write()

    def _write(self) -> None:
        text = json.dumps(self.contents(), indent=1) + "\n"
        # A full disk or storage that is away now may be there at the next beat.
        with contextlib.suppress(OSError, LusError):
            write_text(self.path, text)
            self.push()

    def contents(self) -> dict[str, Any]:
        """What the file says now."""
        with self.lock:
            over = self.finished | self.stuck | {_place(c) for c in self.failed if c.sample is None}
            begun = over | {_place(cell) for cell in self.running}
            return {
                **self.driver,
                "beat": time.time(),
                **self.end,
                "cells": self.num_cells,
                "finished": len(self.finished),
                "running": {cell.name: dict(values) for cell, values in self.running.items()},
                "waiting": self.num_cells - len(begun),
                "failed": {cell.name: why for cell, why in self.failed.items()},
                "said": [list(line) for line in self.said],
            }


def dashboard() -> str | None:
    """The address of Ray's own page as seen from the head of the cluster, where it has one."""
    told = ray._private.worker.get_dashboard_url()
    return f"http://{told.removeprefix('http://')}" if told else None


def _place(cell: Cell) -> tuple[str, int]:
    return cell.arm, cell.fold


def _outcome(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "finished"
    return "failed" if issubclass(kind, Exception) else "interrupted"
