"""Preparation: from a request to the frozen plan of a run, recorded in its folder."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from lus_ray.clip import Row
from lus_ray.data import store
from lus_ray.errors import ArmError, InputError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.runs import cohort, leakage, manifest, selection, supervision
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder, slug
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.storage.paths import PathOrUri

LOCATION_COLUMNS = ("clip", "shard", "row_group", "row", "mask_scheme")


def print_note(text: str) -> None:
    print(text, file=sys.stderr)


def prepare(
    request: RunRequest,
    *,
    index: pa.Table | None = None,
    notify: Callable[[str], None] = print_note,
) -> RunPlan:
    """Select clips and arms, assign and check the folds, and write the record of the run.

    `index` stands in for that of the store. The caller holds the lock of the run folder. Raises
    InputError where the data, folds or weights do not fit, or the folder holds another run.
    """
    data = request.data.resolve() if isinstance(request.data, Path) else request.data
    folder = RunFolder.create(request.out)
    folder.download()
    index = store.read_index(data) if index is None else index
    index = supervision.apply_weak_labels(index, data) if request.weak else index
    chosen = selection.select(request.experiment, index, data, domains=request.domains)
    experiment, index, assigned = chosen.experiment, chosen.index, chosen.folds
    notes = (*chosen.notes, *note_random_starts(experiment, request.size))
    for note in notes:
        notify(f"note: {note}")
    for reason, names in chosen.left_out.items():
        few = names if len(names) < 4 else (*names[:3], f"{len(names) - 3} more")
        notify(f"note: {reason}; skipped: {'; '.join(few)}")

    fingerprint = cohort.fingerprint(index)
    known = [fold.number for fold in assigned]
    if unknown := sorted(set(request.folds) - set(known)):
        raise ArmError(f"no fold {unknown[0]}; there are {known}")
    requested = [fold for fold in assigned if fold.number in (request.folds or known)]
    leakage.refuse_leaking_weights(experiment, requested, index)
    refuse_blind_searches(experiment, requested)
    before, experiment = experiment, isolate_searches(experiment, assigned)
    if experiment.arms != before.arms:
        notify("note: folds test different patients; every fold chooses its own hyperparameters")
    rows = _with_num_frames(experiment, chosen.rows, data)
    record = manifest.describe_run(
        experiment, rows, data, size=request.size, fingerprint=fingerprint, weak=request.weak,
        command=request.command, seeds=request.seeds, skipped_arms=chosen.left_out,
        notes=notes,
    )  # fmt: skip
    record = replace(record, weights_patients=leakage.patients_of_weights(experiment))
    record = manifest.write(record, experiment, assigned, folder)
    return RunPlan(
        experiment=experiment,
        size=request.size,
        folds=assigned,
        rows=rows,
        fingerprint=fingerprint,
        folder=folder,
        cells=list_cells(experiment, requested, seeds=record.seeds or 1),
        data=data,
        index=index.select(LOCATION_COLUMNS),
    )


def list_cells(
    experiment: Experiment, folds: Sequence[Fold], *, seeds: int = 1
) -> tuple[Cell, ...]:
    """Every cell in the order of the table, the whole table for one seed after the other.

    Raises ArmError if two arms share a folder.
    """
    names: dict[str, str] = {}
    for arm in experiment.arms:
        if (first := names.setdefault(slug(arm.name), arm.name)) != arm.name:
            raise ArmError(
                f"{experiment.name}: {arm.name!r} and {first!r} share a folder; rename one"
            )
    return tuple(
        Cell(arm.name, fold.number, seed=seed)
        for seed in range(seeds)
        for arm in experiment.arms
        for fold in folds
    )


def note_random_starts(experiment: Experiment, size: str) -> list[str]:
    """Which arms at full size start from random weights where the paper starts from others."""
    names: dict[str, list[str]] = {}
    for arm in experiment.arms if size == "full" else ():
        if arm.pretrained and not arm.weights:
            names.setdefault(arm.pretrained, []).append(arm.name)
    return [
        f"the published recipe starts from {weights}, and this run from random weights "
        f"({', '.join(arms)}); give --weights {weights}"
        for weights, arms in names.items()
    ]


def isolate_searches(experiment: Experiment, assigned: Sequence[Fold]) -> Experiment:
    """The experiment, with one search per fold where folds test different patients.

    A mean score over such folds would let test patients of one fold choose hyperparameters.
    """
    if len({fold.test for fold in assigned}) < 2:
        return experiment
    return experiment.with_arms(
        tuple(
            replace(arm, search=replace(arm.search, over="fold"))
            if arm.search is not None and arm.is_searched
            else arm
            for arm in experiment.arms
        )
    )


def refuse_blind_searches(experiment: Experiment, folds: Sequence[Fold]) -> None:
    """Raise InputError for a search in a fold whose validation side is empty."""
    blind = [fold.number for fold in folds if not fold.val]
    if blind and any(arm.is_searched for arm in experiment.arms):
        raise InputError(
            f"--samples: fold {blind[0]} has no validation patients to choose by; leave it out, or "
            "choose other --splits"
        )


def _with_num_frames(experiment: Experiment, rows: Sequence[Row], data: PathOrUri) -> Sequence[Row]:
    """Clip rows, with `num_frames` where a task learns from single frames."""
    views = [getattr(arm.task, "keywords", {}).get("view") for arm in experiment.arms]
    if not any(view is not None and view.is_per_frame for view in views):
        return rows
    if all(row["frame_severity"] is not None for row in rows):
        return [{**row, "num_frames": len(row["frame_severity"])} for row in rows]
    lengths = store.count_frames_by_clip(data)
    return [{**row, "num_frames": lengths[row["clip"]]} for row in rows]
