"""Prediction sets of an arm, and how often they hold the class of internal and external clips."""

from collections.abc import Mapping

from lus_ray.evaluation.external import validation
from lus_ray.evaluation.external.estimates import Cells, Resampling
from lus_ray.evaluation.external.schema import ArmSets, SetScores
from lus_ray.evaluation.results import CellResult
from lus_ray.metrics import classification, conformal


def has_one_class(cells: Cells) -> bool:
    """Whether each example is a clip with exactly one class, which a set can hold."""
    every = [cell for by_seed in cells.values() for cell in by_seed.values()]
    return all(not (cell.multilabel or cell.has_frames or cell.scheme) for cell in every)


def predict_sets(
    name: str,
    label: str,
    *,
    internal: tuple[Cells, Resampling],
    external: tuple[Cells, Resampling],
    known: Cells,
    reason: str = "",
) -> ArmSets:
    """Calibrate on the validation cells `known` of each fold and seed, and count coverage.

    With a `reason` why these are of no use, nothing is calibrated.
    """
    usable = {
        fold: {s: c for s, c in by_seed.items() if validation.examples_of(c) is not None}
        for fold, by_seed in known.items()
    }
    calibration = [cell for by_seed in usable.values() for cell in by_seed.values()]
    if reason or not calibration:
        return ArmSets(name=name, label=label, reason=reason or validation.NO_CLIPS)
    levels = {}
    for level in conformal.LEVELS:
        limits = {
            (fold, seed): conformal.conformity_threshold(
                cell.patients, cell.target, cell.probability, level=level
            )
            for fold, by_seed in usable.items()
            for seed, cell in by_seed.items()
        }
        levels[level] = [_score(*side, level, limits) for side in (internal, external)]
    return ArmSets(
        name=name,
        label=label,
        num_classes=len(calibration[0].classes),
        num_calibration=min(cell.num_patients for cell in calibration),
        internal=tuple(own for own, _ in levels.values() if own),
        external=tuple(own for _, own in levels.values() if own),
    )


def _score(
    cells: Cells, sampling: Resampling, level: float, limits: Mapping[tuple[int, int], float]
) -> SetScores | None:
    def count(cell: CellResult, limit: float) -> conformal.PatientMeans:
        sets = conformal.predict_sets(cell.probability, limit)
        return conformal.score_sets(cell.patients, cell.target, sets)

    counts = {
        fold: {
            seed: count(cell, limits[fold, seed])
            for seed, cell in by_seed.items()
            if (fold, seed) in limits and not classification.explain_unusable(cell.probability)
        }
        for fold, by_seed in cells.items()
    }
    measured = sampling.measure(counts)
    if not measured:
        return None
    return SetScores(level=level, **{name: own.estimate() for name, own in measured.items()})
