"""How far a training is: complete epochs, the best one, and the steps of an unfinished one."""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from torch import Tensor


class EpochRecord(NamedTuple):
    """A complete epoch: its validation score, its worth to the recipe, and its problem, if any."""

    score: float
    worth: float
    problem: str


@dataclass
class BestEpoch:
    """The epoch to keep: its number, validation scores and parameters."""

    epoch: int
    scores: dict[str, float]
    parameters: dict[str, Tensor] = field(repr=False)


@dataclass
class UnfinishedEpoch:
    """Steps done of an epoch, those with a finite loss, and the sums of their losses by name.

    `before` are the parameters from before the epoch, where the recipe may keep them.
    """

    before: dict[str, Tensor] | None = field(repr=False)
    step: int = 0
    num_good: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    num_workers: int = 1


@dataclass
class TrainingProgress:
    """Complete epochs, the best one, and notes; `bad_steps` counts the last non-finite losses."""

    past: list[EpochRecord] = field(default_factory=list)
    best: BestEpoch | None = None
    notes: list[str] = field(default_factory=list)
    bad_steps: int = 0
    unfinished: UnfinishedEpoch | None = None

    @property
    def epoch(self) -> int:
        """The next epoch."""
        return len(self.past)

    @property
    def problem_epochs(self) -> int:
        return sum(1 for _ in takewhile(lambda record: record.problem, reversed(self.past)))
