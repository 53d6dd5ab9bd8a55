"""A metric of models that were trained several times, with different random seeds.

Letters: S seeds of a fold, D draws of patients.
The metric is the mean over folds of the mean over seeds. A draw takes patients for all seeds alike,
and S - 1 of the S seeds of each fold with replacement: S of them would halve the variance of two
seeds (McCarthy and Snowden 1985). Seeds also differ because they err on different patients, which
the draws of patients cover already; so a draw moves from the mean of all seeds towards that of its
own only by the share of the variance between seeds that patients do not explain. Without that, two
arms that differ on single patients alone had intervals up to 1.7 times too wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class SeedSpread:
    """What the seeds of all folds add to the standard error of a mean, with degrees of freedom."""

    error: float = 0.0
    dof: int = 0


ONE_SEED = SeedSpread()


@dataclass(frozen=True)
class SeedMetric:
    """A metric by fold and seed.

    All fields have one entry a fold, which may have other seeds: `values` (S), `draws` (S, D), and
    `picks` (at least S - 1, D), numbers in [0, 1) that pick the seeds of each draw.
    """

    values: Sequence[Float[np.ndarray, "_"]]
    draws: Sequence[Float[np.ndarray, "_ D"]]
    picks: Sequence[Float[np.ndarray, "_ D"]]

    def minus(self, other: "SeedMetric") -> "SeedMetric":
        """The difference of two arms, seed by seed."""
        pairs = zip(self.values, other.values, strict=True)
        drawn = zip(self.draws, other.draws, strict=True)
        return SeedMetric([a - b for a, b in pairs], [a - b for a, b in drawn], self.picks)

    @property
    def mean(self) -> float:
        return float(np.mean([own.mean() for own in self.values]))

    def sample(self) -> Float[np.ndarray, "D"]:
        """The mean in each draw of patients and seeds; NaN where a seed is undefined in it."""
        step = np.sqrt(self._excess())
        means = []
        for drawn, picks in zip(self.draws, self.picks, strict=True):
            mean = drawn.mean(axis=0)
            if step and len(drawn) > 1:
                number = (picks[: len(drawn) - 1] * len(drawn)).astype(np.int64)
                own = np.take_along_axis(drawn, number, axis=0).mean(axis=0)
                mean = (1 - step) * mean + step * own
            means.append(mean)
        return np.mean(means, axis=0)

    def spread(self) -> SeedSpread:
        repeated = [own for own in self.values if len(own) > 1]
        squares = sum(own.var(ddof=1) / len(own) for own in repeated)
        dof = sum(len(own) - 1 for own in repeated)
        return SeedSpread(float(np.sqrt(squares)) / len(self.values), dof)

    def _excess(self) -> float:
        """The share of the variance between seeds that the choice of patients does not explain."""
        observed = explained = 0.0
        for values, drawn in zip(self.values, self.draws, strict=True):
            if len(values) > 1:
                contrast = drawn - drawn.mean(axis=0)
                observed += values.var(ddof=1)
                explained += np.nanvar(contrast, axis=1).sum() / (len(values) - 1)
        return max(0.0, 1 - explained / observed) if observed else 0.0
