"""A run before and after its preparation: what is requested, and the frozen plan of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from lus_ray.clip import Row
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder, RunFolder
from lus_ray.storage.paths import PathOrUri


@dataclass(frozen=True)
class RunRequest:
    """What a command asks for: an experiment with its arms and settings, on a store, in a folder.

    `folds` restricts the run to some folds. Every cell is trained with `seeds` seeds; None for as
    many as the run folder records, or one. `domains` are the store's names of the domains that
    the experiment compares. With `weak`, frames without a score carry
    that of their clip. `dashboard` starts Ray's with a cluster of its own.
    """

    experiment: Experiment
    data: PathOrUri
    out: PathOrUri
    size: str
    folds: tuple[int, ...] = ()
    seeds: int | None = None
    domains: tuple[str, ...] = ()
    weak: bool = False
    command: str = ""
    address: str | None = None
    tensorboard: bool = False
    dashboard: bool = False


@dataclass(frozen=True)
class RunPlan:
    """What all cells of a run share: experiment, folds, clip rows and the run folder.

    `cells` are those of the requested folds in the order of the table. `index` locates the clips
    in the store `data`.
    """

    experiment: Experiment
    size: str
    folds: tuple[Fold, ...]
    rows: Sequence[Row]
    fingerprint: str
    folder: RunFolder
    cells: tuple[Cell, ...] = ()
    data: PathOrUri = ""
    index: pa.Table = field(default_factory=lambda: pa.table({}), repr=False)

    def folder_of(self, cell: Cell) -> CellFolder:
        return self.folder.cell(cell)

    def inputs_of(self, cell: Cell) -> tuple[Cell, ...]:
        """The cells that must be finished before this one.

        A search chooses hyperparameters with the first seed, for all others.
        """
        arm = self.experiment.arm(cell.arm)
        chosen = (Cell(cell.arm, cell.fold),) if cell.seed and arm.is_searched else ()
        return (*(cell.input(name) for name in arm.inputs), *chosen)

    def unfinished_cells(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if not self.folder_of(cell).is_finished)
