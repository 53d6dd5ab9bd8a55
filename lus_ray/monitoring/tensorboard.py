"""Curves for TensorBoard: `tensorboard --logdir OUT/tensorboard` shows an arm's folds together."""

import contextlib
from pathlib import Path
from typing import Any

from lus_ray.errors import LusError
from lus_ray.monitoring.events import Observer
from lus_ray.monitoring.run_files import finite_number
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import TENSORBOARD, RunFolder, slug


class TensorBoardWriter(Observer):
    """Writes event files to `<out>/tensorboard/<arm>/fold<k>[/<sample>]`; a context manager."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.writers: dict[str, Any] = {}

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
        with contextlib.suppress(OSError, LusError):  # metrics.jsonl has the same values
            self.run.upload(TENSORBOARD)

    def on_start(self, cell: Cell) -> None:
        self._close(cell)

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        if "epoch" not in values:
            return
        epoch = int(values["epoch"])
        writer = self._writer(cell, epoch)
        for name, value in values.items():
            if name.startswith(("train_", "val_")) and finite_number(value) is not None:
                writer.add_scalar(name, float(value), epoch)
        writer.flush()

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        self._close(cell)

    def folder(self, cell: Cell) -> Path:
        folder = self.run.path / TENSORBOARD / slug(cell.arm) / cell.fold_name
        return folder if cell.sample is None else folder / f"sample{cell.sample}"

    def _writer(self, cell: Cell, epoch: int) -> Any:
        if cell.name not in self.writers:
            from tensorboardX import SummaryWriter

            # Files are named by the second, and another start may come sooner.
            self.writers[cell.name] = SummaryWriter(
                str(self.folder(cell)), purge_step=epoch, filename_suffix=f".{epoch}"
            )
        return self.writers[cell.name]

    def _close(self, cell: Cell) -> None:
        if (writer := self.writers.pop(cell.name, None)) is not None:
            writer.close()
