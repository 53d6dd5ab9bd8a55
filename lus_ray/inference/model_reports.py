"""The reports of models, kept in the user's cache: to draw patients anew takes a second.

The name of a file there is a hash of all that its reports are computed from: the models, the record
and the folds of their run, its prediction tables of the same fold, and the version of this package.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lus_ray import __version__
from lus_ray.errors import LusError
from lus_ray.inference.schema import ModelCard
from lus_ray.inference.served_model import ModelReport, ServedModel
from lus_ray.runs.layout import RunFolder
from lus_ray.storage import files
from lus_ray.storage.paths import cache_root

FORMAT = 1
Reports = dict[str, ModelReport]
"""By model id."""
UNKNOWN = "unknown"
NO_CARD = ModelCard(
    dataset=UNKNOWN, synthetic=False, size=UNKNOWN, patients=0, clips=0, metric=UNKNOWN,
    validated=None, validation_patients=0, beats_chance=False, baseline=None, difference=None,
    beats_baseline=None,
    summary="Its training data and its validation are unknown.",
)  # fmt: skip

REPORTS: TypeAdapter[Reports] = TypeAdapter(Reports)


def with_reports(models: Sequence[ServedModel]) -> tuple[ServedModel, ...]:
    """The models with their reports; draws of patients are shared within a label.

    Where a run lacks what a report needs, the card says that it is unknown.
    """
    groups: dict[tuple[object, ...], list[ServedModel]] = {}
    for model in models:
        groups.setdefault((model.run_folder, model.fold, model.kind, model.label), []).append(model)
    reports: Reports = {}
    for group in groups.values():
        reports |= _read_or_compute(group)
    return tuple(replace(model, report=reports[model.id]) for model in models)


def _read_or_compute(models: Sequence[ServedModel]) -> Reports:
    """The reports of models of one run, fold, kind and label."""
    path = None
    try:
        path = cache_root() / "model_reports" / f"{_hash_sources(models)}.json"
        return REPORTS.validate_json(path.read_bytes())
    except (LusError, OSError, ValidationError):  # not kept yet, or no cache folder
        pass
    from lus_ray.inference import model_card  # imports the evaluation

    try:
        reports = model_card.describe_group(models)
    except (LusError, KeyError, ValueError):  # a run of an earlier version, or a damaged one
        return {model.id: ModelReport(model.arm, NO_CARD) for model in models}
    if path is not None:
        with contextlib.suppress(OSError, LusError):  # the disk is full or read-only
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, json.dumps(REPORTS.dump_python(reports, mode="json")))
    return reports


def _hash_sources(models: Sequence[ServedModel]) -> str:
    run = RunFolder(models[0].run_folder)
    fold = (models[0].fold, models[0].seed)
    cells = [cell for cell in run.finished_cells() if (cell.number, cell.seed) == fold]
    paths = [run.manifest, *filter(Path.is_file, [run.folds]), *(c.predictions for c in cells)]
    facts = {
        "version": [FORMAT, __version__],
        "models": [[model.id, model.fold, model.seed, model.fingerprint] for model in models],
        "files": [[path.parent.name, path.name, _hash_file(path)] for path in paths],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
