"""One external validation, from a run and a store to its report."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lus_ray
import lus_ray.folds as folds
from lus_ray import report
from lus_ray.data import store
from lus_ray.errors import InputError
from lus_ray.evaluation import report_json
from lus_ray.external_validation import cohort, leak_gate, models
from lus_ray.external_validation.cohort import ExternalClips
from lus_ray.external_validation.leak_gate import KnownClips
from lus_ray.folds import Fold
from lus_ray.orchestration import run_options
from lus_ray.runs import cohort as cohorts
from lus_ray.runs import layout, machine, manifest
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import ArmRecord, DataRecord, EvaluationRecord, RunRecord
from lus_ray.storage.files import write_text
from lus_ray.storage.paths import PathOrUri, basename, is_remote


def default_folder(run: PathOrUri, data: PathOrUri, where: Mapping[str, str]) -> Path:
    """`RUN/evaluations/STORE[-VALUE...]`; InputError for a run at a URI, which is only read."""
    if is_remote(run):
        raise InputError(f"{run}: is not on this machine; give --out a folder")
    name = "-".join((basename(data), *map(layout.slug, where.values())))
    return Path(run) / layout.EVALUATIONS / name


def evaluate(
    run: PathOrUri,
    data: PathOrUri,
    out: Path | None = None,
    *,
    num_draws: int = report_json.NUM_DRAWS,
    show: Callable[[report.RunReport], None] = lambda report: None,
    **options: Any,
) -> report.RunReport:
    """Predict the clips of a store with the models of a run, and write the report of that.

    `options` are those of `predict_store`. `show` receives the report before it is written.
    """
    return report.write(predict_store(run, data, out, **options), num_draws=num_draws, show=show)


def predict_store(
    run: PathOrUri,
    data: PathOrUri,
    out: Path | None = None,
    *,
    arms: str | None = None,
    where: Mapping[str, str] | None = None,
    command: str = "",
    notify: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Path:
    """Predict the clips of a store with the models of a run; returns the evaluation folder.

    Patients of the run are left out first. `arms` are names or patterns, all by default; `where`
    keeps clips with these values. The same call resumes; tables of models that have not changed
    are kept. `notify` receives what is left out, `progress` the models done and planned and the
    next one.

    Raises:
        InputError: there is no run or store, no clip is left, no label fits, or the folder holds
            an evaluation of other clips.
    """
    where = dict(where or {})
    data = data.resolve() if isinstance(data, Path) else data
    folder = layout.open_for_reading(run)
    record = manifest.read(folder.path)
    if record.evaluation_of is not None:
        raise InputError(f"{run}: is an evaluation itself; give the run {record.evaluation_of.run}")
    chosen = _choose_arms(record, arms)
    index = store.read_index(data)
    path = out or default_folder(run, data, where)
    known = leak_gate.read_known_clips(folder.path, record)
    notify(f"comparing {index.num_rows} clips with {known.description} ...")
    clips = cohort.select(
        record, data, index,
        known=known, where=where, arms=chosen, classes=models.read_classes(folder, chosen),
    )  # fmt: skip
    needed = models.needed_arms(record, clips.arms)
    target = RunFolder.create(path)
    found, lacking = models.find_models(folder, target, needed)
    if not found:
        raise InputError(f"{run}: no finished model of {needed[0].name!r}; finish the run first")
    clips = replace(clips, notes=(*clips.notes, *lacking))
    for line in describe(clips, known):
        notify(line)
    with target.lock():
        fingerprint = cohorts.fingerprint(clips.index)
        own = _describe(record, folder.path, data, clips, known, where, fingerprint, command)
        _write_record(own, needed, record, folder.path, target, clips)
        models.predict_missing(
            found, record, clips.rows, data,
            fingerprint=fingerprint, progress=progress, notify=notify,
        )  # fmt: skip
    return target.path


def describe(clips: ExternalClips, known: KnownClips) -> Iterator[str]:
    """Lines on the clips that are kept and left out, and on labels and arms."""
    yield f"compared: {known.description}"
    for own in clips.left_out:
        clips_of = f"{own.num_clips} clip{'s' * (own.num_clips != 1)}"
        yield f"left out: {own.patient} ({clips_of}): {own.reason}"
    num_patients = len(set(clips.index["patient"].to_pylist()))
    yield (
        f"kept: {clips.index.num_rows} of {clips.num_clips} clips, {num_patients} of "
        f"{clips.num_patients} patients"
    )
    yield from (f"note: {note}" for note in clips.notes)


def _choose_arms(record: RunRecord, arms: str | None) -> tuple[ArmRecord, ...]:
    if arms is None:
        return record.arms
    names = run_options.match_arms(record.experiment, [arm.name for arm in record.arms], arms)
    return tuple(arm for arm in record.arms if arm.name in names)


def _describe(
    record: RunRecord, run: Path, data: PathOrUri, clips: ExternalClips, known: KnownClips,
    where: Mapping[str, str], fingerprint: str, command: str,
) -> RunRecord:  # fmt: skip
    """The record of an evaluation: that of the run with the external clips as its data.

    Published values, claims and gaps are about the data of the paper, so they stay with the run.
    """
    about = EvaluationRecord(
        run=str(run.resolve()),
        fingerprint=record.data.fingerprint,
        sources=tuple(record.data.sources),
        store=str(data),
        where=dict(where),
        num_clips=clips.num_clips,
        num_patients=clips.num_patients,
        compared=known.description,
        left_out=clips.left_out,
        notes=clips.notes,
    )
    sources = {row["source"] for row in clips.rows}
    return replace(
        record,
        version=lus_ray.__version__,
        commit=machine.find_commit(),
        started=datetime.now(UTC).date().isoformat(),
        machine=machine.describe(),
        data=DataRecord(
            clips=len(clips.rows),
            patients=len({row["patient"] for row in clips.rows}),
            groups=len({row["group"] for row in clips.rows}),
            fingerprint=fingerprint,
            sources={n: f for n, f in store.read_sources(data).items() if n in sources},
        ),
        domains=clips.domains,
        published={},
        claims=(),
        gaps=(),
        skipped_arms={},
        notes=(),
        data_path=str(data),
        commands=(command,) if command else (),
        evaluation_of=about,
    )


def _write_record(
    own: RunRecord,
    needed: Sequence[ArmRecord],
    record: RunRecord,
    run: Path,
    target: RunFolder,
    clips: ExternalClips,
) -> None:
    """Write record and folds; arms of an earlier call on the same clips stay.

    Raises InputError if the folder holds something else.
    """
    names = {arm.name for arm in needed}
    if target.manifest.exists():
        before = manifest.read(target.path)
        was, now = before.evaluation_of, own.evaluation_of
        if was is None or now is None or was.run != now.run:
            raise InputError(f"{target.path}: holds another run or its evaluation; give --out")
        if before.data.fingerprint != own.data.fingerprint:
            raise InputError(
                f"{target.path}: holds an evaluation of other clips, as the store or what is left "
                "out has changed; give another --out, or remove the folder"
            )
        names |= {arm.name for arm in before.arms}
        own = replace(own, commands=tuple(dict.fromkeys((*before.commands, *own.commands))))
    own = replace(own, arms=tuple(arm for arm in record.arms if arm.name in names))
    patients = tuple(row["patient"] for row in clips.rows)
    assigned = [Fold(fold.number, (), (), patients) for fold in folds.read(run / layout.FOLDS)]
    write_text(target.manifest, json.dumps(asdict(own), indent=1) + "\n")
    plan = {"fingerprint": folds.fingerprint(assigned), "folds": [asdict(f) for f in assigned]}
    write_text(target.folds, json.dumps(plan, indent=1) + "\n")
