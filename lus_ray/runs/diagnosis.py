"""The middle class of the diagnosis of Gare 2021: pneumonia, where a store knows its etiology.

A disease of the lung with an etiology (bacterial, viral, other) is a pneumonia. Clips of asthma,
oedema and the like then have no diagnosis and are left out, with a note. A store without any
etiology, as those of version 0.1, cannot tell them apart: there the middle class is every other
lung disease, and is named so.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from lus_ray.clip import to_rows
from lus_ray.data.labels import DIAGNOSIS, PNEUMONIA_DIAGNOSIS, class_index
from lus_ray.experiment import Experiment
from lus_ray.metrics.frames import inherited_metrics

OTHER_NAMES = dict(
    zip(
        inherited_metrics(PNEUMONIA_DIAGNOSIS.classes),
        inherited_metrics(DIAGNOSIS.classes),
        strict=True,
    )
)
"""Metrics of the class of other lung diseases by those of pneumonia."""


def fit_to_store(experiment: Experiment, index: pa.Table) -> tuple[Experiment, tuple[str, ...]]:
    """The experiment with the diagnosis that the clips can have, and notes on it.

    A study of any one label has the classes that it was made with.
    """
    if experiment.target is not None or all(a.label != DIAGNOSIS.name for a in experiment.arms):
        return experiment, ()
    rows = to_rows(index.select(["clip", "disease", "etiology"]))
    if not any(row["etiology"] for row in rows):
        note = "no clip has the etiology of a pneumonia: every other lung disease takes its place"
        return _with_other_diseases(experiment), (note,)
    known = [row for row in rows if row["disease"] is not None]
    classes = PNEUMONIA_DIAGNOSIS.classes
    missing = sum(class_index(DIAGNOSIS.name, row, classes) is None for row in known)
    note = (
        f"{missing} of {len(known)} clips with a disease have no diagnosis: they are not healthy, "
        "and neither COVID-19 nor a pneumonia of known etiology"
    )
    return experiment, (note,) if missing else ()


def _with_other_diseases(experiment: Experiment) -> Experiment:
    return replace(
        experiment,
        arms=tuple(
            replace(arm, task=_without_classes(arm.task)) if arm.label == DIAGNOSIS.name else arm
            for arm in experiment.arms
        ),
        metrics=tuple(OTHER_NAMES.get(metric, metric) for metric in experiment.metrics),
        published={
            arm: {OTHER_NAMES.get(metric, metric): value for metric, value in row.items()}
            for arm, row in experiment.published.items()
        },
    )


def _without_classes(task: Callable[..., Any]) -> Callable[..., Any]:
    """The task with its own classes, those of `DIAGNOSIS`."""
    if not isinstance(task, partial):
        return task
    bound = {name: value for name, value in task.keywords.items() if name != "classes"}
    return partial(task.func, *task.args, **bound)
