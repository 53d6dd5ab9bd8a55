"""What a study runs on a store: its clips, its folds, and the arms that these can train."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

import lus_ray.folds as folds
from lus_ray.clip import Row, to_rows
from lus_ray.errors import FoldError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.runs import cohort, diagnosis, supervision, trainable
from lus_ray.storage.paths import PathOrUri

LOCATION = ("shard", "row_group", "row", "signature")


@dataclass(frozen=True)
class Selection:
    """An experiment with the arms that run; `left_out` are the others by reason.

    `notes` are on clips that are skipped and on folds that differ from the plan.
    """

    experiment: Experiment
    index: pa.Table
    rows: Sequence[Row]
    folds: tuple[Fold, ...]
    left_out: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def select(
    experiment: Experiment, index: pa.Table, data: PathOrUri, *, domains: Sequence[str] = ()
) -> Selection:
    """Select clips, assign folds and leave out the arms that cannot be trained.

    Raises:
        InputError: the names of domains do not fit.
        SchemaError: no clip has a label of the study, or no arm can be trained.
        FoldError: there are too few patients for its folds, or a patient is in two splits.
    """
    experiment, index, notes = cohort.select(experiment, index, data, names=domains)
    experiment, more = diagnosis.fit_to_store(experiment, index)
    experiment, unlabelled = supervision.select_arms(experiment, index)
    try:
        assigned = tuple(experiment.folds.assign(index, seed=experiment.seed))
    except FoldError as error:
        raise FoldError(f"{experiment.name}: {error}") from error
    folds.gate(assigned, index)
    cohort.check_folds(experiment, assigned, index)
    rows = to_rows(index.drop_columns(list(LOCATION)))
    untrainable = trainable.find_untrainable(experiment, rows, assigned)
    experiment, untrained = supervision.leave_out(experiment, untrainable)
    return Selection(
        experiment, index, rows, assigned, {**unlabelled, **untrained}, (*notes, *more)
    )
