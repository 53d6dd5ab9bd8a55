"""From the name of a study to the worlds of its control, each with its clips and its request."""

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from lus_ray import study_files
from lus_ray.control import Control, World
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.store import read_sources
from lus_ray.errors import InputError
from lus_ray.orchestration import studies
from lus_ray.runs.layout import PHANTOM
from lus_ray.runs.plan import RunRequest
from lus_ray.storage.paths import PathOrUri, join
from lus_ray.suggestions import suggest

SIZE = "control"


def find_control(study: str) -> Control:
    """The control of a study or of a study file.

    Raises:
        InputError: there is no such study, or it has no control.
    """
    studies.refuse_unknown(study)
    file = study_files.load(study) if study_files.is_file_name(study) else None
    if file is not None:
        control = getattr(file.module, "CONTROL", None)
    elif find_spec(f"experiments.controls.{study}") is None:
        control = None
    else:
        control = importlib.import_module(f"experiments.controls.{study}").CONTROL
    if not isinstance(control, Control):
        remedy = f"choose one of {', '.join(_list_controls())}"
        if file is not None:
            remedy = "assign a Control to the name CONTROL in the file"
        raise InputError(f"--control: {study} has none; {remedy}")
    return _with_file(control, file) if file is not None else control


def _list_controls() -> list[str]:
    """The built-in studies that have a control."""
    return [name for name in studies.list_studies() if find_spec(f"experiments.controls.{name}")]


def _with_file(control: Control, file: study_files.StudyFile) -> Control:
    """The control, its experiments with the file that their processes have to import."""

    def add(world: World) -> World:
        return replace(world, experiment=replace(world.experiment, file=file))

    return replace(
        control,
        worlds=tuple(map(add, control.worlds)),
        broken={name: add(world) for name, world in control.broken.items()},
    )


def choose_worlds(control: Control, broken: str | None) -> tuple[World, ...]:
    """All worlds of a control, or the one that is broken in the named way."""
    if broken is None:
        return control.worlds
    if broken not in control.broken:
        hint = suggest(broken, list(control.broken))
        raise InputError(f"--broken {broken!r}: no such way to break it{hint}")
    return (control.broken[broken],)


def name_folder(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-")


def prepare_world(
    world: World, out: PathOrUri, *, seed: int, address: str | None, command: str,
    notify: Callable[[str], None],
) -> RunRequest:  # fmt: skip
    """The request of a world's run in a folder below `out`; makes its clips where they lack."""
    folder = join(out, name_folder(world.name))
    store = join(folder, PHANTOM)
    if not read_sources(store):
        options: dict[str, Any] = {**world.clips, "seed": seed}
        summary = ingest(options.pop("source", "control"), None, store, **options)
        notify(f"world {world.name!r}: {summary.text().partition(chr(10))[0]}")
    # What the paper printed and claimed is about other clips.
    experiment = replace(world.experiment, published={}, claims=(), gaps=(), remarks={}, seed=seed)
    return RunRequest(
        experiment,
        data=store,
        out=folder,
        size=SIZE,
        folds=world.folds,
        command=command,
        address=address,
    )
