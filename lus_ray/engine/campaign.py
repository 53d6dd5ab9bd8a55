"""A campaign: every cell of an experiment that is not finished yet, run by one Tune run."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune

import lus_ray
from lus_ray import checkpoint, folds, store
from lus_ray.clip import Row
from lus_ray.engine import frames, plan
from lus_ray.engine.cell import Work
from lus_ray.engine.cluster import connected
from lus_ray.engine.progress import CellProgress
from lus_ray.engine.schedule import Pruning, Schedule
from lus_ray.engine.trial import trial
from lus_ray.errors import ArmError, CellError, InputError
from lus_ray.experiment import Arm, Experiment

SILENT_SECONDS = 60


def run(
    experiment: Experiment,
    *,
    data: Path,
    out: Path,
    size: str,
    only_folds: tuple[int, ...] = (),
    address: str | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Run what is missing of an experiment in `out`; returns when every cell is finished.

    Raises:
        InputError: the data, the folds, the plan or the run folder do not allow it.
        CellError: cells failed; the others are finished, and the same command tries again.
    """
    out, data = out.resolve(), data.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        index = store.index(data)
        experiment, left_out = fitting(experiment, index)
        for label, names in left_out.items():
            print(f"note: no clip has {label}: {len(names)} arms are left out", file=sys.stderr)
        work = prepare(experiment, index, out, size=size, about=about or {}, data=data)
        dealt = [f for f in work.folds if not only_folds or f.number in only_folds]
        if unknown := sorted(set(only_folds) - {f.number for f in work.folds}):
            raise ArmError(f"no fold {unknown[0]}; there are {[f.number for f in work.folds]}")
        cells = plan.cells(experiment, dealt)
        missing = [cell for cell in cells if not cell.finished(out)]
        if not missing:
            return
        with connected(address), CellProgress(len(cells), len(cells) - len(missing)) as progress:
            _run_cells(cells, work, index, data, progress)


def fitting(
    experiment: Experiment, index: pa.Table
) -> tuple[Experiment, dict[str, tuple[str, ...]]]:
    """The experiment without arms that no clip has a label for, and those arms by label."""
    absent = {
        arm.label
        for arm in experiment.arms
        if arm.label is not None and index[arm.label].null_count == index.num_rows
    }
    kept = experiment.without({arm.name for arm in experiment.arms if arm.label in absent})
    names = {arm.name for arm in experiment.arms} - {arm.name for arm in kept.arms}
    left_out = {
        label: tuple(
            arm.name for arm in experiment.arms if arm.name in names and arm.label == label
        )
        for label in sorted(absent)
    }
    return kept, left_out


def prepare(
    experiment: Experiment,
    index: pa.Table,
    out: Path,
    *,
    size: str,
    about: dict[str, Any],
    data: Path,
) -> Work:
    """Deal and gate the folds and write down what is run; refuse a folder of another run."""
    rows: list[Row] = index.drop_columns(["shard", "row_group", "row", "signature"]).to_pylist()
    fingerprint = store.fingerprint(index)
    dealt = experiment.folds.deal(index, seed=experiment.seed)
    folds.gate(dealt, index)
    record: dict[str, Any] = {
        "version": lus_ray.__version__,
        "experiment": experiment.name,
        "title": experiment.title,
        "size": size,
        "seed": experiment.seed,
        "data": {
            "clips": len(rows),
            "patients": len({row["patient"] for row in rows}),
            "groups": len({row["group"] for row in rows}),
            "fingerprint": fingerprint,
            "sources": store.notes(data),
        },
        "folds": experiment.folds.describe(),
        "metrics": list(experiment.metrics),
        "arms": [describe(arm) for arm in experiment.arms],
        "published": {
            arm: {metric: list(value) for metric, value in row.items()}
            for arm, row in experiment.published.items()
        },
        "claims": [asdict(claim) for claim in experiment.claims],
        **about,
    }
    record = json.loads(json.dumps(record))
    _agree(record, out / "experiment.json")
    store.write_text(out / "experiment.json", json.dumps(record, indent=1) + "\n")
    folds.write(dealt, out / "folds.json", protocol=experiment.folds, seed=experiment.seed)
    return Work(experiment, size, tuple(dealt), rows, fingerprint, out)


def describe(arm: Arm) -> dict[str, Any]:
    """An arm with every bound value, as JSON values."""
    return {
        "name": arm.name,
        "label": arm.label,
        "baseline": arm.baseline,
        "start": arm.start,
        "reads": arm.reads,
        "weights": arm.weights and file_record(Path(arm.weights)),
        "crossfit": arm.crossfit,
        "rows": {"needs": list(arm.rows.needs), "where": dict(arm.rows.where)},
        "recipe": arm.recipe and asdict(arm.recipe),
        "task": checkpoint.describe(arm.task),
        "search": None
        if arm.search is None or not arm.search.samples
        else {
            "space": {name: str(value) for name, value in arm.search.space.items()},
            "samples": arm.search.samples,
            "over": arm.search.over,
        },
    }


def file_record(path: Path) -> dict[str, str]:
    """Name and SHA-256 of the weights that results depend on."""
    path = path / "weights.safetensors" if path.is_dir() else path
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run folder; a second command on it is refused, a dead one's hold ends with it."""
    with (out / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise InputError(
                f"{out}: {file.read().strip() or 'another command'} is running here; "
                "wait for it or choose another --out"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


def _agree(record: dict[str, Any], path: Path) -> None:
    """Refuse to mix runs; arms of an earlier, partial run are kept in the record."""
    if not path.exists():
        return
    try:
        known = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); choose another --out") from error
    for key in ("experiment", "size", "seed", "folds"):
        if known.get(key) != record[key]:
            raise InputError(
                f"{path.parent}: holds a run with {key} {known.get(key)!r}, not {record[key]!r}; "
                "choose another --out"
            )
    if known["data"]["fingerprint"] != record["data"]["fingerprint"]:
        raise InputError(f"{path.parent}: holds a run on other data; choose another --out")
    now = {arm["name"]: arm for arm in record["arms"]}
    for arm in known["arms"]:
        if arm["name"] in now and now[arm["name"]] != arm:
            raise InputError(
                f"{path.parent}: arm {arm['name']!r} was run with other settings; "
                "choose another --out"
            )
    others = [arm for arm in known["arms"] if arm["name"] not in now]
    record["arms"] += others
    record["published"] = {**known["published"], **record["published"]}
    record["claims"] += [claim for claim in known["claims"] if claim not in record["claims"]]


def _run_cells(
    cells: tuple[plan.Cell, ...], work: Work, index: pa.Table, data: Path, progress: CellProgress
) -> None:
    cluster = plan.Cluster.of(ray.cluster_resources())
    num_frames = store.num_frames(data)
    sizes = _sizes(work.experiment)
    streamed = frames.num_bytes(num_frames, sizes) > frames.SHARE * cluster.object_store
    free = shutil.disk_usage(work.out).free
    for note in plan.check(
        work.experiment, cluster, streamed=streamed, free_bytes=free, out=work.out, size=work.size
    ):
        progress.say(f"note: {note}")
    shared = None if streamed else frames.share(data, index, sizes)

    needs = {arm.name: plan.need(arm, cluster, streamed=streamed) for arm in work.experiment.arms}
    schedule = Schedule(cells, work, progress, lambda cell: needs[cell.arm].gpus_per_worker)
    most = _most_at_once(work.experiment, cluster, streamed=streamed)
    given = {"work": work, "shared": shared, "store": str(data)}
    _fit(schedule, given, partial(_bundles, needs), most)
    if schedule.failed:
        names = ", ".join(cell.name for cell in list(schedule.failed)[:5])
        first = next(iter(schedule.failed.values()))
        raise CellError(
            f"{len(schedule.failed)} cells failed ({names}): {first}; "
            f"see error.txt below {work.out / 'cells'}, then run the same command again"
        )


def _bundles(needs: Mapping[str, plan.Need], config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial holds; the workers of Ray Train ask for theirs themselves."""
    wanted = needs[config["cell"]["arm"]]
    if wanted.workers > 1:
        return tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    bundle = {"CPU": 1.0}
    if wanted.gpus_per_worker:
        bundle["GPU"] = wanted.gpus_per_worker
    return tune.PlacementGroupFactory([bundle])


def _fit(schedule: Schedule, given: dict[str, Any], needs: Any, most: int) -> None:
    """One Tune run. What Tune keeps for itself goes to a folder that is thrown away."""
    scratch = tempfile.mkdtemp(prefix="lus-tune-")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, **given), needs),
            tune_config=tune.TuneConfig(
                search_alg=schedule,
                scheduler=Pruning(schedule),
                num_samples=10**9,
                max_concurrent_trials=most,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=lambda t: t.trial_id,
            ),
            run_config=tune.RunConfig(
                name=schedule.work.experiment.name,
                storage_path=scratch,
                verbose=0,
                callbacks=[_Silence(schedule)],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Silence(tune.Callback):
    """Says so when cells wait and none has run for a minute."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.since, self.told = schedule, time.monotonic(), 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune all the time."""
        now = time.monotonic()
        if any(t.status == "RUNNING" for t in trials) or not self.schedule.running:
            self.since = now
        elif now - max(self.since, self.told) > SILENT_SECONDS:
            self.told = now
            free = {k: v for k, v in ray.available_resources().items() if k in ("CPU", "GPU")}
            first = next(iter(self.schedule.running.values()))
            self.schedule.watcher.say(
                f"waiting {now - self.since:.0f} s for resources of {first.name}; free now: {free}"
            )


def _trial_name(t: Any) -> str:
    cell = plan.Cell(**t.config["cell"])
    return cell.name


def _sizes(experiment: Experiment) -> set[tuple[int, int]]:
    """Every size (height, width) at which an arm looks at frames."""
    views = [getattr(arm.task, "keywords", {}).get("view") for arm in experiment.arms]
    built = [
        view or getattr(arm.task(), "view", None)
        for view, arm in zip(views, experiment.arms, strict=True)
    ]
    return {(view.height, view.width) for view in built if view is not None}


def _most_at_once(experiment: Experiment, cluster: plan.Cluster, *, streamed: bool) -> int:
    """Trials at a time, so that drivers of worker groups and data tasks never starve each other."""
    needs = [plan.need(arm, cluster, streamed=streamed) for arm in experiment.arms]
    data = max(need.data_cpus for need in needs)
    workers = max(need.workers for need in needs)
    if workers > 1:
        return max(1, int((cluster.cpus - data) // workers))
    return max(1, int(cluster.cpus) - data)
