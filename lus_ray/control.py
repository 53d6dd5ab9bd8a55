"""Controls are values: worlds in which a claim is true or not, and what has to be seen there.

A control shows that an implementation is right and trained enough: in a simulated world that is
made so that the claim holds, the method has to win, and in its twin it must not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lus_ray.clip import Row
from lus_ray.errors import ArmError
from lus_ray.experiment import Experiment
from lus_ray.predictor import Predictor


@dataclass(frozen=True)
class Trained:
    """A finished cell: its model, and its test clips with labels and masks."""

    arm: str
    fold: int
    predictor: Predictor
    clips: tuple[Row, ...]


@dataclass(frozen=True)
class Score:
    """A metric of the study's report, as the mean over folds."""

    metric: str
    arm: str


@dataclass(frozen=True)
class Difference:
    """Score of `better` minus score of `than`."""

    metric: str
    better: str
    than: str


@dataclass(frozen=True)
class Closed:
    """The share of the way from the score of `low` to that of `high` that `arm` covers."""

    metric: str
    arm: str
    low: str
    high: str


@dataclass(frozen=True)
class Measured:
    """What `by` says of the trained cells of an arm, as the mean over folds."""

    arm: str
    by: Callable[[Trained], float]


Measure = Score | Difference | Closed | Measured


def arms_of(measure: Measure) -> tuple[str, ...]:
    match measure:
        case Score(_, arm) | Measured(arm, _):
            return (arm,)
        case Difference(_, better, than):
            return (better, than)
        case Closed(_, arm, low, high):
            return (arm, low, high)


@dataclass(frozen=True)
class Check:
    """What a measure (a fraction of 1) must be: at least `least`, at most `most`."""

    text: str
    measure: Measure
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ArmError(f"check {self.text!r} has no bound; give least or most")

    def passes(self, value: float) -> bool:
        """Whether the value is within the bounds; NaN never is."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class World:
    """Simulated clips, the arms that learn from them, and what must be seen.

    `clips` are the options of `lus ingest control`, with the `world`; or those of another
    simulator, with its name as `source`. `folds` are the folds to run, all where empty.
    """

    name: str
    text: str
    experiment: Experiment
    clips: Mapping[str, Any]
    checks: tuple[Check, ...]
    folds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ArmError for a check of an arm that the experiment does not have."""
        for check in self.checks:
            for name in arms_of(check.measure):
                self.experiment.arm(name)


@dataclass(frozen=True)
class Control:
    """A claim, the worlds that test it, and worlds in which the method is broken on purpose.

    In a broken world at least one check must fail, which shows that the control can.
    """

    claim: str
    worlds: tuple[World, ...]
    broken: Mapping[str, World] = field(default_factory=dict)
