"""The contents of report.json as frozen dataclasses, checked and written by pydantic.

Scores are fractions of 1. An undefined number is None, null in JSON. Fields marked `optional` are
left out of the JSON where they do not apply.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from lus_ray.runs.machine import MachineRecord
from lus_ray.runs.manifest import EvaluationRecord
from lus_ray.runs.search_result import SearchResult


def _to_number(value: Any) -> Any:
    """A finite Python number; None for NaN, infinity and None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[int | float | None, BeforeValidator(_to_number)]
Count = Annotated[int, BeforeValidator(_to_number)]
Limits = tuple[Number, Number]
Numbers = Mapping[str, Number]


def optional(default: Any = None) -> Any:
    """A field that is left out of the JSON where it has its default."""
    return Field(default, exclude_if=lambda value: value == default)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A metric of one arm minus that of another (`to`), with its paired 95 % interval.

    `error` is its standard deviation over the draws of patients and seeds, and `seed_error` what
    the observed spread of several seeds adds to it, with `seed_dof` degrees of freedom.
    """

    to: str = optional("")
    value: Number = None
    interval: Limits = (None, None)
    error: Number = optional()
    seed_error: Number = optional()
    seed_dof: int | None = optional()
    folds: tuple[int, ...] = ()
    reason: str = optional("")


@dataclass(frozen=True, kw_only=True)
class SeedMetrics:
    seed: int
    metrics: Numbers


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """One fold; of several `seeds`, `metrics` are the means and `cost` is that of the first."""

    fold: int
    metrics: Numbers
    undefined: Mapping[str, str]
    num_patients: int
    num_clips: int
    num_frames: Annotated[int | None, BeforeValidator(_to_number)] = optional()
    num_images: int | None = optional()
    cost: dict[str, Any]
    seeds: tuple[SeedMetrics, ...] = optional(())


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class pooled over the folds that trained it: all, unless `num_folds` counts them."""

    num_true: float
    precision: Number
    recall: Number
    f1: Number
    num_folds: int | None = optional()


@dataclass(frozen=True, kw_only=True)
class BiomarkerScores:
    """One biomarker averaged over the folds that trained it: all, unless `num_folds` counts them.

    The numbers of clips are sums over all folds.
    """

    num_judged: Count
    num_seen: Count
    auc: Number
    accuracy: Number
    precision: Number
    recall: Number
    f1: Number
    num_folds: int | None = optional()


@dataclass(frozen=True, kw_only=True)
class ImageSpread:
    mean: Number
    std: Number
    num_images: Count


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm; `kind` is the classifier of an expert, `method` its name with what it reads."""

    name: str
    label: str | None
    baseline: bool
    start: Any
    reads: str | None
    crossfit: int | None
    kind: str | None = optional()
    method: str
    leak: str | None
    folds: tuple[FoldScores, ...]
    missing: tuple[int, ...]
    num_patients: int
    mean: Numbers
    std: Numbers
    interval: dict[str, Limits]
    num_folds: dict[str, int]
    undefined: Mapping[str, str]
    published: dict[str, Limits]
    difference: dict[str, Difference]
    calibration_error: Number
    confusion: tuple[tuple[float, ...], ...] | None
    cost: Numbers
    classes: dict[str, ClassScores] = optional({})
    biomarkers: dict[str, BiomarkerScores] = optional({})
    per_image: dict[str, ImageSpread] = optional({})


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """A claim with its verdict (`lus_ray.evaluation.verdicts`).

    `interval` covers the difference with 95 %; `adjusted_interval` decides the verdict, and `p` and
    `adjusted_p` are before and after Holm's correction over the claims. `detectable` is the
    smallest difference beyond the margin that data like these find with a power of 80 %.
    """

    text: str
    metric: str
    better: str
    than: str
    margin: float = optional(0.0)
    printed_p: str = optional("")
    verdict: str
    reason: str = ""
    difference: Number = optional()
    interval: Limits | None = optional()
    num_patients: int | None = optional()
    p: Number = optional()
    adjusted_p: Number = optional()
    adjusted_interval: Limits | None = optional()
    detectable: Number = optional()


@dataclass(frozen=True, kw_only=True)
class GapResult:
    """A leaky protocol minus its leak-free counterpart; `note` says how else the two differ."""

    text: str
    leaky: str
    clean: str
    label: str | None = None
    num_patients: int = 0
    differences: dict[str, Difference] = Field(default_factory=dict)
    reason: str = ""
    note: str = optional("")


@dataclass(frozen=True, kw_only=True)
class RaterScores:
    accuracy: Number
    difference: Number
    weighted_kappa: Number


@dataclass(frozen=True, kw_only=True)
class ArmAmongRaters(RaterScores):
    name: str
    kind: str
    num_clips: int


@dataclass(frozen=True, kw_only=True)
class RaterComparison:
    """Only `num_clips` and `reason` where raters cannot be compared."""

    num_clips: int
    num_raters: int = optional(0)
    pairwise: Number = optional()
    modal: tuple[float, ...] = optional(())
    mode_ties: Number = optional()
    one_against_others: tuple[RaterScores, ...] = optional(())
    arms: tuple[ArmAmongRaters, ...] | None = optional()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class NeutralElements:
    arm: str
    folds: dict[int, tuple[float, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ExampleClip:
    clip: str
    patient: str
    fold: int
    arm: str
    severity: int | None
    raters: tuple[int, ...]
    scores: dict[str, int | None]


@dataclass(frozen=True, kw_only=True)
class DomainSpread:
    """Mean, population standard deviation (ddof 0) and number of defined values."""

    mean: Number
    std: Number
    number: int


@dataclass(frozen=True, kw_only=True)
class DomainArm:
    name: str
    num_images: int
    num_patients: int
    over_images: dict[str, DomainSpread]
    over_patients: dict[str, DomainSpread]
    published: dict[str, Limits]


@dataclass(frozen=True, kw_only=True)
class PValues:
    """Symmetric matrices over `DomainResult.order`; only compared pairs are adjusted."""

    raw: tuple[tuple[Number, ...], ...]
    adjusted: tuple[tuple[Number, ...], ...]


@dataclass(frozen=True, kw_only=True)
class UntestedPair:
    one: str
    other: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DomainResult:
    """`main` are the first arms of `order`, without variants and leaks.

    `compared` are the pairs over which Holm corrects: those of the paper's claims in this domain,
    or all pairs of the main arms where the paper claims nothing. `printed_p` are the paper's own p
    of these pairs, as printed; empty where none is known.
    """

    label: str
    domain: str
    called: tuple[str, ...]
    metrics: tuple[str, ...]
    arms: tuple[DomainArm, ...]
    tested: str
    order: tuple[str, ...]
    main: tuple[str, ...]
    compared: tuple[tuple[str, str], ...]
    printed_p: tuple[str, ...] = optional(())
    num_draws: int
    tests: dict[str, PValues]
    undefined: tuple[UntestedPair, ...]


@dataclass(frozen=True, kw_only=True)
class MissingCell:
    arm: str
    fold: int
    seed: int = optional(0)


@dataclass(frozen=True, kw_only=True)
class CellNote(MissingCell):
    note: str


@dataclass(frozen=True, kw_only=True)
class UntrainedClass:
    """A class of a label that the training split of some `folds` lacks, of `num_folds` finished.

    `arms` are those that lack it, where others of the label do not. `num_tested` folds test it,
    and `num_scored` of them trained it.
    """

    label: str
    name: str
    folds: tuple[int, ...]
    num_folds: int
    num_tested: int
    num_scored: int
    arms: tuple[str, ...] = optional(())


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """A split of a fold; `classes` counts annotated clips, or frames, by label and class."""

    fold: int
    split: str
    num_patients: int
    num_clips: int | None
    classes: dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class ReportContents:
    """Everything that the report says; `data` and `folds` are as the run recorded them.

    All random numbers derive from `seed`; each cell is trained `seeds` times. In an external
    validation, described by `evaluation_of`, `data` are the external clips, and every fold is a
    model of the run that predicts all of them.
    """

    version: str | None
    commit: str | None = optional()
    started: str | None = optional()
    machine: MachineRecord | None = optional()
    experiment: str
    title: str | None
    size: str | None
    seed: int | None
    seeds: int = 1
    command: str
    data: dict[str, Any]
    folds: dict[str, Any]
    metrics: tuple[str, ...]
    num_draws: int
    notes: dict[str, str]
    warnings: tuple[str, ...]
    cell_notes: tuple[CellNote, ...]
    missing: tuple[MissingCell, ...]
    arms: tuple[ArmResult, ...]
    highlights: dict[str, tuple[str, ...]]
    claims: tuple[ClaimResult, ...]
    gaps: tuple[GapResult, ...]
    raters: RaterComparison | None
    neutral: tuple[NeutralElements, ...]
    clips: tuple[ExampleClip, ...]
    domains: tuple[DomainResult, ...] | None = optional()
    untrained: tuple[UntrainedClass, ...] = optional(())
    splits: tuple[SplitCounts, ...] = optional(())
    evaluation_of: EvaluationRecord | None = optional()
    remarks: dict[str, str] = optional({})
    searches: tuple[SearchResult, ...] = optional(())

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(arm.label for arm in self.arms if arm.label))

    def arms_of(self, label: str) -> list[ArmResult]:
        return [arm for arm in self.arms if arm.label == label]

    def metrics_of(self, label: str) -> list[str]:
        known = {metric for arm in self.arms_of(label) for metric in arm.mean}
        return [metric for metric in self.metrics if metric in known]

    def label_of(self, arm: str) -> str | None:
        return next((row.label for row in self.arms if row.name == arm), None)


CONTENTS = TypeAdapter(ReportContents)


def to_json(contents: ReportContents, *, ascii_only: bool = False) -> str:
    """The contents as the text of report.json, without a line break at the end."""
    return CONTENTS.dump_json(contents, indent=1, ensure_ascii=ascii_only).decode()
