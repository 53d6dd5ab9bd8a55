"""Curves for TensorBoard: `tensorboard --logdir OUT/tensorboard` shows an arm's folds together."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lus_ray.errors import LusError
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import slug

NAME = "tensorboard"


class TensorBoardWriter:
    """A `Observer` that writes event files to `<out>/tensorboard/<arm>/fold<k>[/<sample>]`.

    What an earlier start wrote of the epochs that are done again is hidden by TensorBoard. `push`
    is called at the end, where the folder is a copy of one elsewhere.
    """

    def __init__(self, out: Path, *, push: Callable[[], None] | None = None) -> None:
        self.out, self.push = out, push or (lambda: None)
        self.writers: dict[str, Any] = {}

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        """Write what is left."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
        with contextlib.suppress(OSError, LusError):  # the figures themselves are in metrics.jsonl
            self.push()

    def on_start(self, cell: Cell) -> None:
        """See `Observer`; one that is handed out again goes on in a file of its own."""
        self._close(cell)

    def on_report(self, cell: Cell, values: dict[str, Any]) -> None:
        """See `Observer`: one point of every figure of the epoch."""
        if "epoch" not in values:
            return
        epoch = int(values["epoch"])
        writer = self._writer(cell, epoch)
        for name, value in values.items():
            if name.startswith(("train_", "val_")) and _is_figure(value):
                writer.add_scalar(name, float(value), epoch)
        writer.flush()

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        """See `Observer`."""
        self._close(cell)

    def on_blocked(self, cell: Cell) -> None:
        """See `Observer`; nothing to draw."""

    def notify(self, text: str) -> None:
        """See `Observer`; nothing to draw."""

    def folder(self, cell: Cell) -> Path:
        """Where the event files of a cell lie."""
        folder = self.out / NAME / slug(cell.arm) / f"fold{cell.fold}"
        return folder if cell.sample is None else folder / f"sample{cell.sample}"

    def _writer(self, cell: Cell, epoch: int) -> Any:
        if cell.name not in self.writers:
            from tensorboardX import SummaryWriter

            # Files are named by the second: another start may come sooner.
            self.writers[cell.name] = SummaryWriter(
                str(self.folder(cell)), purge_step=epoch, filename_suffix=f".{epoch}"
            )
        return self.writers[cell.name]

    def _close(self, cell: Cell) -> None:
        writer = self.writers.pop(cell.name, None)
        if writer is not None:
            writer.close()


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
