"""A cell: one arm on one fold with one training seed; also one sample of a search."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EpochCallback = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Cell:
    """One arm on one fold; `sample` and `settings` where a search chooses its hyperparameters.

    `seed` numbers the repetitions of the training, from 0; their folds are the same.
    """

    arm: str
    fold: int
    sample: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    seed: int = 0

    @property
    def fold_name(self) -> str:
        """`fold<k>[-seed<n>]`; the first seed has the name that it has without others."""
        return f"fold{self.fold}" + (f"-seed{self.seed}" if self.seed else "")

    @property
    def name(self) -> str:
        """`<arm>/fold<k>[-seed<n>][/<sample>]`, as the dashboard shows it."""
        return f"{self.arm}/{self.fold_name}" + ("" if self.sample is None else f"/{self.sample}")

    def input(self, arm: str) -> "Cell":
        """The cell of an earlier arm that this one uses: of the same fold and seed."""
        return Cell(arm, self.fold, seed=self.seed)


def name_fold(fold: int, seed: int = 0) -> str:
    """`fold 2` or `fold 2, seed 1`, as readers see it."""
    return f"fold {fold}" + (f", seed {seed}" if seed else "")


def cell_seed(seed: int, cell: Cell) -> int:
    """The cell's own random seed, equal on every machine."""
    digest = hashlib.sha256(f"{seed}:{cell.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
