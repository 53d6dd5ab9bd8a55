"""Calibration of an arm before and after temperature scaling, on internal and external clips."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lus_ray.evaluation.external import validation
from lus_ray.evaluation.external.estimates import Cells, Resampling, measure_pooled
from lus_ray.evaluation.external.schema import (
    ArmCalibration,
    BeforeAfter,
    CalibrationScores,
    ModelTemperature,
)
from lus_ray.evaluation.external.validation import Examples
from lus_ray.metrics import calibration
from lus_ray.metrics.temperature import Temperature, apply_temperature, fit_temperature

Temperatures = Mapping[tuple[int, int], Temperature]


def calibrate(
    name: str,
    label: str,
    *,
    internal: tuple[Cells, Resampling],
    external: tuple[Cells, Resampling],
    known: Cells,
    reason: str = "",
) -> ArmCalibration:
    """Fit one temperature per fold and seed on the validation cells `known`, and score it.

    With a `reason` why these are of no use, only the calibration as it is.
    """
    fitted = {} if reason else _fit(known)
    return ArmCalibration(
        name=name,
        label=label,
        num_calibration=min((known[fold][seed].num_patients for fold, seed in fitted), default=0),
        temperatures=tuple(
            ModelTemperature(fold=fold, seed=seed, value=own.value, reason=own.reason)
            for (fold, seed), own in fitted.items()
        ),
        internal=_score_side(*internal, fitted),
        external=_score_side(*external, fitted),
        reason=reason or ("" if fitted else validation.NO_CLIPS),
    )


def _fit(known: Cells) -> Temperatures:
    examples = {
        (fold, seed): validation.examples_of(cell)
        for fold, by_seed in known.items()
        for seed, cell in by_seed.items()
    }
    return {
        key: fit_temperature(own.target, own.probability)
        for key, own in examples.items()
        if own is not None
    }


def _score_side(cells: Cells, sampling: Resampling, fitted: Temperatures) -> BeforeAfter | None:
    examples = {
        (fold, seed): own
        for fold, by_seed in cells.items()
        for seed, cell in by_seed.items()
        if (own := validation.examples_of(cell)) is not None
    }
    if not examples:
        return None

    def scaled(key: tuple[int, int], own: Examples) -> np.ndarray:
        return apply_temperature(own.probability, fitted[key].value)

    before = _score(examples, sampling, lambda key, own: own.probability)
    after = _score(examples, sampling, scaled) if examples.keys() <= fitted.keys() else None
    return BeforeAfter(before=before, after=after)


def _score(
    examples: Mapping[tuple[int, int], Examples],
    sampling: Resampling,
    predict: Callable[[tuple[int, int], Examples], np.ndarray],
) -> CalibrationScores:
    """Scores of all folds and seeds pooled, as the calibration error of the report."""
    every: Sequence[Examples] = tuple(examples.values())
    counts = calibration.count_calibration(
        [patient for own in every for patient in own.patients],
        np.concatenate([own.target for own in every]),
        np.concatenate([predict(key, own) for key, own in examples.items()]),
        yes_no=every[0].yes_no,
    )
    curve = calibration.reliability_curve(counts.bins.sum(axis=0))
    return CalibrationScores(
        **{name: own.estimate() for name, own in measure_pooled(counts, sampling).items()},
        curve=tuple(
            zip(
                curve.confidence.tolist(),
                curve.correct.tolist(),
                curve.number.tolist(),
                strict=True,
            )
        ),
    )
