"""Verdicts on the claims of a paper: supported, contradicted, undecided, or not tested.

A claim states that the metric of one arm exceeds that of another; one of the kind "as good as"
states that it is not lower by its margin or more. The difference is tested over patients: its
standard error is that over the draws of patients, its distribution Student's t with one degree of
freedom less than there are patients. Several training seeds are drawn as well, and few seeds say
little about their own spread: Satterthwaite's rule combines the degrees of freedom of patients
(n - 1) and of seeds (S - 1 in each fold) by their shares of the variance. The share of the seeds is
the observed one, which contains their errors on single patients: an estimate without those may be
zero by chance, and the test would then be too sure. Holm (1979) corrects for the number of tested
claims of the paper. The adjusted interval of a claim has the level at which Holm decides it, so it
excludes the bound exactly where the corrected p is below `ALPHA`.
Why not the percentiles of the draws: with 20 patients they are too narrow, and the small levels of
Holm would rest on a few extreme draws.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

from lus_ray.evaluation.comparisons import compare
from lus_ray.evaluation.schema import ClaimResult, Difference
from lus_ray.evaluation.scored_arms import Arms
from lus_ray.experiment import TRIAL_SIZES, Claim
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.metrics.significance import holm
from lus_ray.metrics.training_seeds import ONE_SEED, SeedSpread
from lus_ray.runs.cell import name_fold

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_TESTED = "not tested"

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class MeasuredDifference:
    """A difference with its standard error over draws of `num_patients` patients, and its margin.

    `seeds` is what the training seeds add. `excess` is how far the difference lies above the bound
    that the claim states.
    """

    value: float
    error: float
    num_patients: int
    margin: float = 0.0
    seeds: SeedSpread = ONE_SEED

    @property
    def dof(self) -> float:
        """Degrees of freedom after Satterthwaite (1946)."""
        of_patients = self.num_patients - 1.0
        if not self.seeds.error or not self.error:
            return of_patients
        share = min(1.0, (self.seeds.error / self.error) ** 2)
        return 1 / (1 / of_patients + share**2 / self.seeds.dof)

    @property
    def excess(self) -> float:
        return self.value + self.margin

    @property
    def p(self) -> float:
        """Two-sided p of the bound; 1 for a difference at it without any spread."""
        if not self.error:
            return float(self.excess == 0)
        return float(2 * stdtr(self.dof, -abs(self.excess) / self.error))

    def interval(self, level: float) -> tuple[float, float]:
        """Limits of the difference that miss it with probability `level`."""
        half = float(stdtrit(self.dof, 1 - level / 2)) * self.error
        return self.value - half, self.value + half

    def detectable(self, level: float) -> float:
        """The smallest true excess that would be found in `POWER` of such studies."""
        quantiles = stdtrit(self.dof, [1 - level / 2, POWER])
        return float(quantiles.sum() * self.error)


def decide_claims(claims: Sequence[Claim], arms: Arms, *, size: str | None) -> list[ClaimResult]:
    """Every claim with its verdict, and the numbers or the reason behind it.

    A claim is not tested where an arm is absent or unfinished, or the metric undefined in some
    fold; it is undecided below laptop size and with fewer than `MIN_PATIENTS` test patients.
    """
    results = [_measure(claim, arms) for claim in claims]
    tested = [k for k, (_, difference) in enumerate(results) if difference is not None]
    differences = [difference for _, difference in results if difference is not None]
    p = np.array([difference.p for difference in differences])
    levels, adjusted = holm_levels(p), holm(p)
    decided = [result for result, _ in results]
    for number, k in enumerate(tested):
        difference, level = differences[number], float(levels[number])
        verdict, reason = _decide(difference, level, size)
        decided[k] = replace(
            decided[k],
            verdict=verdict,
            reason=reason,
            p=difference.p,
            adjusted_p=adjusted[number],
            adjusted_interval=difference.interval(level),
            detectable=difference.detectable(level),
        )
    return decided


def measured(
    value: float, error: float, num_patients: int, margin: float = 0.0,
    seeds: SeedSpread = ONE_SEED,
) -> MeasuredDifference:  # fmt: skip
    """A difference from its deviation over draws of patients, which is too small by n / (n - 1)."""
    unbiased = error * math.sqrt(num_patients / (num_patients - 1))
    return MeasuredDifference(value, unbiased, num_patients, margin, seeds)


def holm_levels(p: Float[np.ndarray, "C"]) -> Float[np.ndarray, "C"]:
    """The level at which Holm decides each comparison: alpha / C for the smallest p, then
    alpha / (C - 1), ...; all that follow the first one that fails share its level."""
    levels = np.empty(len(p))
    level, is_failed = ALPHA, False
    for rank, k in enumerate(np.argsort(p, kind="stable")):
        level = level if is_failed else ALPHA / (len(p) - rank)
        is_failed = is_failed or bool(p[k] >= level)
        levels[k] = level
    return levels


def decide(difference: MeasuredDifference, level: float) -> str:
    """The verdict on a difference whose interval has this level."""
    low, high = difference.interval(level)
    if low > -difference.margin:
        return SUPPORTED
    return CONTRADICTED if high < -difference.margin else UNDECIDED


def _decide(difference: MeasuredDifference, level: float, size: str | None) -> tuple[str, str]:
    if size in TRIAL_SIZES:
        return UNDECIDED, f"size {size} is below laptop size"
    if difference.num_patients < MIN_PATIENTS:
        few = f"{difference.num_patients} test patients; at least {MIN_PATIENTS} are needed"
        return UNDECIDED, few
    return decide(difference, level), ""


def _measure(claim: Claim, arms: Arms) -> tuple[ClaimResult, MeasuredDifference | None]:
    untested = ClaimResult(**asdict(claim), verdict=NOT_TESTED)
    difference, reason = _compare(claim, arms)
    if difference is None or difference.value is None or difference.error is None:
        return replace(untested, reason=reason), None
    num_patients = len(arms[claim.better].patients_of(claim.metric))
    result = replace(
        untested,
        difference=difference.value,
        interval=difference.interval,
        num_patients=num_patients,
    )
    error = float(difference.error)
    seeds = SeedSpread(float(difference.seed_error or 0.0), difference.seed_dof or 0)
    return result, measured(float(difference.value), error, num_patients, claim.margin, seeds)


def _compare(claim: Claim, arms: Arms) -> tuple[Difference | None, str]:
    """The difference, or None and the reason."""
    for name in (claim.better, claim.than):
        if name not in arms:
            return None, f"there is no arm {name!r} in this run"
        if arms[name].missing:
            unfinished = "; ".join(name_fold(*cell) for cell in arms[name].missing_cells)
            return None, f"{name}: {unfinished} is not finished"
    better = arms[claim.better]
    difference = compare(better, arms[claim.than], claim.metric)
    if difference.value is None or difference.interval[0] is None:
        return None, difference.reason
    if skipped := [fold for fold in better.planned if fold not in difference.folds]:
        return None, f"{claim.metric} is undefined in fold {', '.join(map(str, skipped))}"
    return difference, ""
