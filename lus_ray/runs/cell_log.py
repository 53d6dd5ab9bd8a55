"""What a cell writes beside its checkpoint: metrics of every epoch, its starts and its cost."""

import json
import os
import socket
import time
from typing import Any

import numpy as np

from lus_ray.runs.cell import EpochCallback
from lus_ray.runs.layout import CellFolder
from lus_ray.storage.files import write_text


class CellLog:
    """Logs a cell; `is_start` records a start of it. `trained` are the classes it trained on.

    The first logged epoch shows where a killed cell resumes: metrics of an earlier start are kept
    up to that epoch. With `appends`, those of an earlier model of the same start are kept whole.
    """

    def __init__(
        self, folder: CellFolder, callback: EpochCallback, *, is_start: bool = True,
        appends: bool = False,
    ) -> None:  # fmt: skip
        folder.path.mkdir(parents=True, exist_ok=True)
        self.folder, self.callback = folder, callback
        self.notes: tuple[str, ...] = ()
        self.trained: tuple[str, ...] | None = None
        self.path = folder.metrics
        self.path.touch()
        self.earlier = self.path.read_text()
        self.num_earlier, self.num_epochs = len(self.earlier.splitlines()), 0
        self.appends = appends
        if is_start:
            folder.error.unlink(missing_ok=True)
            self._append_start()

    def log_epoch(self, values: dict[str, float]) -> None:
        if not self.num_epochs and not self.appends:
            lines = self.path.read_text().splitlines(keepends=True)[: int(values["epoch"])]
            write_text(self.path, "".join(lines))
            self.num_earlier = len(lines)
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
        self.num_epochs += 1
        self.callback(values)

    def write_cost(self, cost: dict[str, Any], scores: dict[str, float]) -> None:
        """Write time, memory, notes and validation scores of the whole cell."""
        finite = {name: value for name, value in scores.items() if np.isfinite(value)}
        notes = [*self.resume_notes(), *self.notes]
        num_epochs = len(self.path.read_text().splitlines())
        contents = {**cost, "epochs": num_epochs, "val_scores": finite, "notes": notes}
        self.folder.cost.write_text(json.dumps(contents, indent=1) + "\n")

    def resume_notes(self) -> list[str]:
        """A note on a resumed training; none where workers trained, as they noted it."""
        is_by_workers = not self.num_epochs and self.path.read_text() != self.earlier
        if self.appends or is_by_workers or not self.num_earlier:
            return []
        return [f"went on after {self.num_earlier} epochs of an earlier start"]

    def _append_start(self) -> None:
        path = self.folder.starts
        try:
            starts = json.loads(path.read_text())
        except (OSError, ValueError):  # a killed start may have written half of it
            starts = []
        starts.append({"node": socket.gethostname(), "pid": os.getpid(), "began": time.time()})
        write_text(path, json.dumps(starts) + "\n")
