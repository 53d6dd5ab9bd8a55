"""What is measured on the clips of another store, as frozen dataclasses for JSON.

Scores are fractions of 1, log loss in nats. `internal` is the test split of the run, `external`
the other store. Intervals cover 95 % and the choice of patients.
"""

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from lus_ray.evaluation.schema import Count, Limits, Number, optional


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval, which has a `reason` where it is undefined."""

    value: Number = None
    interval: Limits = (None, None)
    reason: str = optional("")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A metric on both sides; `difference` is external minus internal."""

    internal: Estimate
    external: Estimate
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class ArmShift:
    """`leak` has the kinds of leak of the arm (`lus_ray.runs.leakage`): internal is too high."""

    name: str
    label: str
    num_internal: Count
    num_external: Count
    metrics: dict[str, Shift]
    leak: str = optional("")


@dataclass(frozen=True, kw_only=True)
class ModelTemperature:
    """The temperature of the model of one fold and seed, with a reason where none is best."""

    fold: int
    seed: int = optional(0)
    value: float
    reason: str = optional("")


@dataclass(frozen=True, kw_only=True)
class CalibrationScores:
    """`curve` has confidence, share that is right and number of predictions by bin."""

    log_loss: Estimate
    brier: Estimate
    calibration_error: Estimate
    curve: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True, kw_only=True)
class BeforeAfter:
    """Calibration before temperature scaling, and after it where a temperature was fitted."""

    before: CalibrationScores
    after: CalibrationScores | None = None


@dataclass(frozen=True, kw_only=True)
class ArmCalibration:
    """A side without predictions is None; `reason` says why nothing was fitted.

    `num_calibration` is the smallest number of validation patients of a model.
    """

    name: str
    label: str
    num_calibration: int = 0
    temperatures: tuple[ModelTemperature, ...] = ()
    internal: BeforeAfter | None = None
    external: BeforeAfter | None = None
    reason: str = optional("")


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """Prediction sets of one nominal coverage; means over patients."""

    level: float
    coverage: Estimate
    size: Estimate
    single: Estimate
    empty: Estimate


@dataclass(frozen=True, kw_only=True)
class ArmSets:
    """`num_calibration` is the smallest number of validation patients of a model."""

    name: str
    label: str
    num_classes: int = 0
    num_calibration: int = 0
    internal: tuple[SetScores, ...] = ()
    external: tuple[SetScores, ...] = ()
    reason: str = optional("")


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """One value of a column; `is_ranked` where it has enough patients to be compared."""

    group: str
    num_patients: int
    num_clips: int
    is_ranked: bool
    metrics: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class GapScores:
    """Best minus worst ranked group; the interval covers that these two were picked."""

    best: str
    worst: str
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class ColumnGroups:
    """Groups of one column; no `gap` below two ranked groups."""

    column: str
    groups: tuple[GroupScores, ...]
    gap: GapScores | None = None


@dataclass(frozen=True, kw_only=True)
class ArmSubgroups:
    """`unknown` are columns without a value; the first of `metrics` ranks the groups."""

    name: str
    label: str
    metrics: tuple[str, ...]
    columns: tuple[ColumnGroups, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ArmBenefit:
    """Net benefit at each threshold."""

    name: str
    value: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit of acting on one yes/no question; acting on no clip is worth 0."""

    label: str
    question: str
    num_patients: int
    num_clips: int
    num_positive: int
    thresholds: tuple[float, ...]
    treat_all: tuple[Number, ...]
    arms: tuple[ArmBenefit, ...]


@dataclass(frozen=True, kw_only=True)
class ExternalResults:
    """Everything measured; `main` are the arms of each label that the run itself highlights.

    The run chose them, so that no external patient decides which arm is shown.
    """

    num_draws: int
    metrics: dict[str, str]
    main: dict[str, tuple[str, ...]]
    shifts: tuple[ArmShift, ...]
    calibration: tuple[ArmCalibration, ...]
    sets: tuple[ArmSets, ...]
    subgroups: tuple[ArmSubgroups, ...]
    decisions: tuple[DecisionCurve, ...]
    notes: tuple[str, ...] = Field(default=())

    @property
    def labels(self) -> list[str]:
        return list(self.main)


EXTERNAL = TypeAdapter(ExternalResults)
