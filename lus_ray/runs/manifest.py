"""The record of a run, `experiment.json`: what is run, on which data and folds.

The same command finds the record of its run folder and resumes; another one is refused, so that
no table mixes two settings.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

import lus_ray
import lus_ray.folds as folds
from lus_ray.clip import Row
from lus_ray.data import store
from lus_ray.data.duplicates.overlap import LeftOut
from lus_ray.data.labels import Label
from lus_ray.errors import InputError
from lus_ray.experiment import Arm, Claim, Experiment, Gap, Rows
from lus_ray.folds import Fold
from lus_ray.runs import machine
from lus_ray.runs.json_files import check_types, read_json
from lus_ray.runs.layout import FOLDS, MANIFEST, RunFolder
from lus_ray.runs.machine import MachineRecord
from lus_ray.storage.files import write_text
from lus_ray.storage.paths import PathOrUri
from lus_ray.training import checkpoint
from lus_ray.training.recipe import Recipe

IDENTITY = ("experiment", "label", "size", "seed", "folds", "supervision", "domains", "frames_with")
"""Entries that never change in a run folder."""
COPIED_FROM_EXPERIMENT = (
    "title", "seed", "domains", "frames_with", "metrics", "published", "remarks",
)  # fmt: skip
RECIPE_DEFAULTS = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING}
"""Recipes of earlier versions lack settings that are new."""
NOTHING: Mapping[str, Any] = {}
COPIED_FROM_ARM = ("name", "label", "baseline", "start", "reads", "members", "crossfit")


def _or_default(default: Any) -> BeforeValidator:
    """Null stands for the default in records of earlier versions."""
    return BeforeValidator(lambda value: default if value is None else value)


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    space: dict[str, str] = field(default_factory=dict)
    samples: int = 0
    over: str = "mean"


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """An arm with every bound value. `recipe` and `task` stay plain: versions differ in them."""

    name: str
    label: str | None = None
    baseline: Annotated[bool, _or_default(False)] = False
    start: str | None = None
    reads: str | None = None
    weights: dict[str, str] | None = None
    members: Annotated[tuple[str, ...], _or_default(())] = ()
    crossfit: Annotated[int, _or_default(0)] = 0
    rows: Annotated[Rows, _or_default({})] = field(default_factory=Rows)
    recipe: dict[str, Any] | None = None
    task: dict[str, Any] | None = None
    search: SearchRecord | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.start, self.reads, *self.members) if name is not None)

    @property
    def kind(self) -> str | None:
        """The kind of classifier of an expert."""
        return self.task_arguments.get("kind")

    @property
    def file(self) -> dict[str, str] | None:
        """The study file that its task or network needs."""
        return (self.task or {}).get("file")

    @property
    def task_arguments(self) -> dict[str, Any]:
        return (self.task or {}).get("arguments") or {}


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """Numbers of clips, patients and groups, and how each source of clips was read."""

    clips: int | None = None
    patients: int | None = None
    groups: int | None = None
    fingerprint: str | None = None
    sources: Annotated[dict[str, dict[str, Any]], _or_default({})] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """What the folder of an external validation evaluates, and on which clips.

    `run` is the path of the run, `fingerprint` that of its clips, and `sources` are those of its
    store. `store` is the external one, of which `num_clips` clips were compared with the run and
    `left_out` were not kept. `compared` says with what. `notes` are about labels and arms.
    """

    run: str
    fingerprint: str | None = None
    sources: tuple[str, ...] = ()
    store: str
    where: dict[str, str] = field(default_factory=dict)
    num_clips: int = 0
    num_patients: int = 0
    compared: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the store's path, with the values that clips were selected by."""
        conditions = ", ".join(f"{column} {value}" for column, value in self.where.items())
        return PurePath(self.store).name + (f" ({conditions})" if conditions else "")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The contents of `experiment.json`; records of earlier versions lack some entries.

    `started` is the day (UTC) of the first command and `machine` that of its driver.
    `label` is that of a study of any one label. `skipped_arms` are those that the clips cannot
    train, by reason, and `notes` what was skipped or changed otherwise.
    `evaluation_of` is set in the folder of an external validation alone, whose `data` are the
    external clips.
    """

    version: str | None = None
    commit: str | None = None
    started: str | None = None
    machine: MachineRecord | None = None
    experiment: str
    file: dict[str, str] | None = None
    """The study file (`name`, `sha256`) that defines the experiment."""
    title: str | None = None
    size: str | None = None
    seed: int | None = None
    seeds: int | None = None
    """How often every cell is trained; None for once, as in records of earlier versions."""
    data: DataRecord = field(default_factory=DataRecord)
    domains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    frames_with: str = ""
    folds: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    arms: tuple[ArmRecord, ...]
    published: dict[str, dict[str, tuple[float, float | None]]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    gaps: tuple[Gap, ...] = ()
    remarks: dict[str, str] = field(default_factory=dict)
    supervision: str = "frames"
    label: Label | None = None
    skipped_arms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data_path: str | None = None
    commands: tuple[str, ...] = ()
    evaluation_of: EvaluationRecord | None = None
    weights_patients: tuple[str, ...] = ()
    """Patients of other runs who trained the initial weights of arms."""

    def arm(self, name: str) -> ArmRecord:
        return next(arm for arm in self.arms if arm.name == name)


RUN_RECORD = TypeAdapter(RunRecord)


def read(out: Path) -> RunRecord:
    """The record of the run in a folder; StoreError if there is none or it is damaged."""
    path = out / MANIFEST
    contents = checkpoint.with_current_names(read_json(path))
    remedy = "restore it, or run into an empty folder"
    return check_types(
        RUN_RECORD.validate_python, contents, path, expected="no record of a run", remedy=remedy
    )


def describe_run(
    experiment: Experiment,
    rows: Sequence[Row],
    data: PathOrUri,
    *,
    size: str,
    fingerprint: str,
    weak: bool,
    command: str,
    seeds: int | None = None,
    skipped_arms: Mapping[str, Sequence[str]] = NOTHING,
    notes: Sequence[str] = (),
) -> RunRecord:
    """The record of an experiment on the clips of a store."""
    contents = {
        **{name: getattr(experiment, name) for name in COPIED_FROM_EXPERIMENT},
        "version": lus_ray.__version__,
        "commit": machine.find_commit(),
        "started": datetime.now(UTC).date().isoformat(),
        "machine": asdict(machine.describe()),
        "experiment": experiment.name,
        "file": experiment.file and experiment.file.record,
        "size": size,
        "seeds": seeds,
        "data": {
            "clips": len(rows),
            "patients": len({row["patient"] for row in rows}),
            "groups": len({row["group"] for row in rows}),
            "fingerprint": fingerprint,
            "sources": store.read_sources(data),
        },
        "folds": experiment.folds.describe(),
        "arms": [_describe_arm(arm) for arm in experiment.arms],
        "claims": [asdict(claim) for claim in experiment.claims],
        "gaps": [asdict(gap) for gap in experiment.gaps],
        "supervision": "weak" if weak else "frames",
        "label": experiment.target and asdict(experiment.target),
        "skipped_arms": dict(skipped_arms),
        "notes": list(notes),
        "data_path": str(data),
        "commands": [command] if command else [],
    }
    return RUN_RECORD.validate_python(json.loads(json.dumps(contents)))


def write(
    record: RunRecord, experiment: Experiment, assigned: Sequence[Fold], folder: RunFolder
) -> RunRecord:
    """Write record and folds, and return the record, with the arms and seeds of an earlier run.

    Raises InputError if the folder holds another run.
    """
    if folder.manifest.exists():
        record = _merge(read(folder.path), record, folder.display_name)
    if folder.folds.exists() and folds.fingerprint(folds.read(folder.folds)) != folds.fingerprint(
        assigned
    ):
        raise InputError(
            f"{folder.display_name}: its {FOLDS} assigns patients otherwise than this version; "
            f"choose another --out, or use the version that {MANIFEST} names"
        )
    write_text(folder.manifest, json.dumps(asdict(record), indent=1) + "\n")
    folds.write(assigned, folder.folds, protocol=experiment.folds, seed=experiment.seed)
    folder.upload(FOLDS, MANIFEST)
    return record


def _describe_arm(arm: Arm) -> dict[str, Any]:
    search = arm.search if arm.search is not None and arm.search.samples else None
    return {
        **{name: getattr(arm, name) for name in COPIED_FROM_ARM},
        "weights": arm.weights and _describe_weights(Path(arm.weights)),
        "rows": asdict(arm.rows),
        "recipe": arm.recipe and asdict(arm.recipe),
        "task": checkpoint.describe(arm.task),
        "search": search
        and {
            "space": {name: str(value) for name, value in search.space.items()},
            "samples": search.samples,
            "over": search.over,
        },
    }


def _describe_weights(path: Path) -> dict[str, str]:
    path = path / "weights.safetensors" if path.is_dir() else path
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _is_same(known: ArmRecord, new: ArmRecord) -> bool:
    """Whether an arm is the recorded one; workers may differ where the planner chose them."""
    if known.recipe is None or new.recipe is None:
        return known == new
    recipe = {**RECIPE_DEFAULTS, **known.recipe, "gpus": new.recipe["gpus"]}
    if None in (recipe["workers"], new.recipe["workers"]):
        recipe["workers"] = new.recipe["workers"]
    return replace(known, recipe=recipe) == new


def _name(value: Any) -> Any:
    return getattr(value, "name", value)


def _merge(known: RunRecord, new: RunRecord, name: str) -> RunRecord:
    for key in IDENTITY:
        before, now = getattr(known, key), getattr(new, key)
        if before != now:
            raise InputError(
                f"{name}: holds a run with {key} {_name(before)!r}, not {_name(now)!r}; "
                "choose another --out"
            )
    if known.data.fingerprint != new.data.fingerprint:
        raise InputError(f"{name}: holds a run on other data; choose another --out")
    num_seeds = known.seeds or 1
    if new.seeds is not None and new.seeds < num_seeds:
        raise InputError(
            f"{name}: holds a run with {num_seeds} seeds, not {new.seeds}; leave out --seeds or "
            "choose another --out"
        )
    arms = {arm.name: arm for arm in new.arms}
    for arm in known.arms:
        new_arm = arms.get(arm.name, arm)
        if arm.file != new_arm.file:
            file = new.file or known.file or {}
            raise InputError(
                f"{name}: arm {arm.name!r} was run with another {file.get('name')}; choose another "
                "--out, or restore that file"
            )
        if not _is_same(arm, new_arm):
            raise InputError(
                f"{name}: arm {arm.name!r} was run with other settings; choose another --out"
            )
    texts = {claim.text for claim in new.claims}
    return replace(
        new,
        seeds=new.seeds or known.seeds,
        started=known.started,
        machine=known.machine,
        arms=(*new.arms, *(arm for arm in known.arms if arm.name not in arms)),
        published={**known.published, **new.published},
        weights_patients=tuple(sorted({*known.weights_patients, *new.weights_patients})),
        commands=tuple(dict.fromkeys((*known.commands, *new.commands))),
        claims=(*new.claims, *(c for c in known.claims if c.text not in texts)),
        gaps=(*new.gaps, *(gap for gap in known.gaps if gap not in new.gaps)),
    )
