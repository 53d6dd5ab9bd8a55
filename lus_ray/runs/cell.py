"""A cell: one arm on one fold, and one sample where hyperparameters are searched."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EpochCallback = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Cell:
    """One arm on one fold; `sample` and `settings` where a search chooses its hyperparameters."""

    arm: str
    fold: int
    sample: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """`<arm>/fold<k>[/<sample>]`, as the dashboard shows it."""
        return f"{self.arm}/fold{self.fold}" + ("" if self.sample is None else f"/{self.sample}")


def cell_seed(seed: int, cell: Cell) -> int:
    """The cell's own seed, equal on every machine."""
    digest = hashlib.sha256(f"{seed}:{cell.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
