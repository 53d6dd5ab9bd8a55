"""The record of a run: what is run, on which data and folds, written down before it starts.

A run folder holds one run. The same command finds its own record and goes on; another one is
refused, so that no table mixes two settings.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

import lus_ray
from lus_ray import folds
from lus_ray.clip import Row
from lus_ray.data import store
from lus_ray.errors import ArmError, InputError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold
from lus_ray.runs import cohort, layout, leakage
from lus_ray.runs.cell import Work
from lus_ray.storage import files, hold, lease
from lus_ray.storage import mirror as homes
from lus_ray.storage.mirror import Home
from lus_ray.storage.paths import PathOrUri
from lus_ray.training import checkpoint


def prepare(
    experiment: Experiment,
    index: pa.Table,
    out: Path,
    *,
    size: str,
    data: PathOrUri,
    command: str = "",
    only_folds: Sequence[int] = (),
    weak: bool = False,
    home: Home | None = None,
) -> Work:
    """Deal and gate the folds and write down what is run; refuse a folder of another run.

    `command` is what asked for it; with `only_folds`, these are run and the others are dealt.
    With a home, `out` is this machine's copy of it, and what is written is brought there.

    Raises:
        InputError: the folds leak or are not those of the folder, weights have seen patients who
            test, or the folder holds another run.
    """
    rows: list[Row] = index.drop_columns(["shard", "row_group", "row", "signature"]).to_pylist()
    views = [getattr(arm.task, "keywords", {}).get("view") for arm in experiment.arms]
    if any(view is not None and view.is_per_frame for view in views):
        rows = _counted(rows, data)
    fingerprint = cohort.fingerprint(index)
    dealt = experiment.folds.assign(index, seed=experiment.seed)
    folds.gate(dealt, index)
    cohort.gate(experiment, dealt, index)
    if unknown := sorted(set(only_folds) - {fold.number for fold in dealt}):
        raise ArmError(f"no fold {unknown[0]}; there are {[fold.number for fold in dealt]}")
    run = [fold for fold in dealt if not only_folds or fold.number in only_folds]
    leakage.refuse_leaking_weights(experiment, run, index)
    experiment = isolate_searches(experiment, dealt)
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
            "sources": store.read_sources(data),
        },
        "domains": {role: list(names) for role, names in experiment.domains.items()},
        "frames_with": experiment.frames_with,
        "folds": experiment.folds.describe(),
        "metrics": list(experiment.metrics),
        "arms": [describe(arm) for arm in experiment.arms],
        "published": {
            arm: {metric: list(value) for metric, value in row.items()}
            for arm, row in experiment.published.items()
        },
        "claims": [asdict(claim) for claim in experiment.claims],
        "gaps": [asdict(gap) for gap in experiment.gaps],
        "supervision": "weak" if weak else "frames",
        "data_path": str(data.resolve() if isinstance(data, Path) else data),
        "commands": [command] if command else [],
    }
    record = json.loads(json.dumps(record))
    shown = home.shown if home else str(out)
    _agree(record, out, shown)
    _agree_on_folds(dealt, out / layout.FOLDS, shown)
    files.write_text(out / layout.RECORD, json.dumps(record, indent=1) + "\n")
    folds.write(dealt, out / layout.FOLDS, protocol=experiment.folds, seed=experiment.seed)
    if home is not None:
        home.push(layout.FOLDS, layout.RECORD)
    return Work(experiment, size, tuple(dealt), rows, fingerprint, out, home)


def describe(arm: Arm) -> dict[str, Any]:
    """An arm with every bound value, as JSON values."""
    return {
        "name": arm.name,
        "label": arm.label,
        "baseline": arm.baseline,
        "start": arm.start,
        "reads": arm.reads,
        "weights": arm.weights and file_record(Path(arm.weights)),
        "members": list(arm.members),
        "crossfit": arm.crossfit,
        "rows": asdict(arm.rows),
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
def locked(place: PathOrUri) -> Iterator[None]:
    """Hold a run; a second command on it is refused, and told who holds it and since when.

    A folder's hold ends with its process, however that ends. On object storage, and where a shared
    filesystem locks nothing, it ends 90 s after the holder's last sign of life.

    Raises:
        InputError: another command holds it, or a run cannot be written there.
    """
    if (home := homes.of(place)) is not None:
        with home.locked():
            yield
        return
    out = Path(place)
    with (out / hold.NAME).open("a+") as file:
        if hold.flocked(file, out):
            file.truncate(0)
            file.write(json.dumps(lease.describe_this_process()))
            file.flush()
            yield
            return
    with lease.hold_lease(out, str(out)):
        yield


def _counted(rows: list[Row], data: PathOrUri) -> list[Row]:
    """Rows with `num_frames`; the store is read only where a clip has no scores of its frames."""
    if all(row["frame_severity"] is not None for row in rows):
        return [{**row, "num_frames": len(row["frame_severity"])} for row in rows]
    lengths = store.count_frames_by_clip(data)
    return [{**row, "num_frames": lengths[row["clip"]]} for row in rows]


def isolate_searches(experiment: Experiment, assigned: Sequence[Fold]) -> Experiment:
    """The experiment, with one search per fold where folds test different patients.

    Why: a patient who validates one fold may test another, so that a mean score over such folds
    would let test patients choose hyperparameters.
    """
    if len({fold.test for fold in assigned}) < 2:
        return experiment
    arms = tuple(
        arm if arm.search is None else replace(arm, search=replace(arm.search, over="fold"))
        for arm in experiment.arms
    )
    if any(
        before.search.samples
        for before, after in zip(experiment.arms, arms, strict=True)
        if before.search is not None and before.search != after.search
    ):
        print(
            "note: folds test different patients; every fold chooses its own hyperparameters",
            file=sys.stderr,
        )
    return experiment.with_arms(arms)


def _agree_on_folds(dealt: Sequence[Fold], path: Path, shown: str) -> None:
    """Refuse folds other than those that the finished cells of a folder were trained on."""
    if path.exists() and folds.fingerprint(folds.read(path)) != folds.fingerprint(dealt):
        raise InputError(
            f"{shown}: its {path.name} has other patients on its sides than this version deals; "
            "choose another --out, or go on with the version that experiment.json names"
        )


def _agree(record: dict[str, Any], out: Path, shown: str) -> None:
    """Refuse to mix runs; arms and commands of an earlier, partial run are kept in the record."""
    if not (out / layout.RECORD).exists():
        return
    known = checkpoint.with_current_names(layout.record(out))
    known = {"supervision": "frames", "domains": {}, "frames_with": "", **known}
    for key in ("experiment", "size", "seed", "folds", "supervision", "domains", "frames_with"):
        if known.get(key) != record[key]:
            raise InputError(
                f"{shown}: holds a run with {key} {known.get(key)!r}, not {record[key]!r}; "
                "choose another --out"
            )
    if known.get("data", {}).get("fingerprint") != record["data"]["fingerprint"]:
        raise InputError(f"{shown}: holds a run on other data; choose another --out")
    now = {arm["name"]: arm for arm in record["arms"]}
    for arm in known["arms"]:
        if arm["name"] in now and now[arm["name"]] != arm:
            raise InputError(
                f"{shown}: arm {arm['name']!r} was run with other settings; choose another --out"
            )
    others = [arm for arm in known["arms"] if arm["name"] not in now]
    record["arms"] += others
    record["published"] = {**known.get("published", {}), **record["published"]}
    before = known.get("commands", [])
    record["commands"] = before + [c for c in record["commands"] if c not in before]
    for key in ("claims", "gaps"):
        record[key] += [entry for entry in known.get(key, []) if entry not in record[key]]
