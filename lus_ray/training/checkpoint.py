"""A checkpoint: a folder with a task in JSON and its weights, read without running code.

    task.json             class and arguments of the task as JSON values, and the seed
    weights.safetensors   tensors of a network
    expert.skops          a scikit-learn estimator

Only tasks and networks of this package and the types listed in `estimators` are loaded, and those
of a study file that was given (`lus_ray.study_files`): `file` in task.json names it with its hash.
"""

import functools
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import lus_ray
from lus_ray import nets, study_files, tasks
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import CellError, CheckpointError, InputError, LusError
from lus_ray.nets.encoder import load_encoder
from lus_ray.nets.pretrained import weights
from lus_ray.storage import files, paths
from lus_ray.suggestions import suggest
from lus_ray.tasks.task import Task
from lus_ray.training import estimators

Description = dict[str, Any]

RENAMED = {
    "Collapsed": "MergedClasses",
    "Intensity": "IntensityFeatures",
    "Matched": "MatchedSegmentation",
    "Outline": "BinarySegmentation",
    "Translated": "TranslatedSegmentation",
}
"""Old names of tasks, networks and their arguments in `task.json` and `experiment.json`."""


def describe(factory: Callable[[], Any]) -> Description:
    """A `functools.partial` of a task or network as JSON values, with every argument.

    `file` is the study file that defines it, or one of the networks and tasks in its arguments.

    Raises:
        CheckpointError: an argument has no JSON form, or a class of a study file has a name that
            another one has.
    """
    function = factory.func if isinstance(factory, partial) else factory
    bound = factory.keywords if isinstance(factory, partial) else {}
    parameters = inspect.signature(function).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    arguments = {name: _to_json(name, value) for name, value in {**defaults, **bound}.items()}
    description = {"name": function.__name__, "arguments": arguments}
    file = _file_of(function) or next(_files_in(list(arguments.values())), None)
    return description if file is None else {**description, "file": file}


def build(description: Mapping[str, Any]) -> Any:
    """The task of a description, with initial weights.

    Raises:
        CheckpointError: it names no task of this package or of the study file that it needs, or
            arguments that do not fit.
    """
    make = _factory(description, tasks, "task")
    try:
        return make()
    except LusError:
        raise
    except Exception as error:  # a network may raise anything on a wrong argument
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"task {description['name']!r} cannot be built with these arguments "
            f"({type(error).__name__}: {reason}); train the cell again"
        ) from error


def save(folder: Path, task: Any, description: Mapping[str, Any], *, seed: int) -> None:
    """Write a checkpoint folder; `load` finds the earlier or the new one complete at any moment.

    Raises:
        CellError: the disk is full; an earlier checkpoint stays.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _write(aside, task, description, seed)
        if folder.exists():
            shutil.rmtree(_previous(folder), ignore_errors=True)
            folder.rename(_previous(folder))
        aside.rename(folder)
        files.fsync(folder.parent)
    except (OSError, SafetensorError) as error:
        raise CellError(
            f"{folder}: not written: {paths.describe_error(error)}; free disk space and run the "
            "same command again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(_previous(folder), ignore_errors=True)


def locate(folder: Path) -> Path:
    """The folder, or the earlier checkpoint if `save` was killed while replacing it."""
    previous = _previous(folder)
    return previous if not folder.exists() and previous.exists() else folder


def load(folder: Path | str) -> Any:
    """The task of a checkpoint folder, ready to predict.

    Raises:
        CheckpointError: a file is missing, damaged, or not trusted.
    """
    folder = locate(Path(folder))
    description = read_description(folder)
    try:
        task = build(description)
    except InputError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    if task.fits_in_one_call:
        task.estimator = estimators.load(folder / "expert.skops")
    elif task.state_dict():
        state = load_weights(folder)
        try:
            task.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{folder}: the weights do not fit the task: {reason}") from error
    return task.eval()


def read_description(folder: Path) -> Description:
    """The task part of `task.json`: its `name` and its `arguments`.

    Raises:
        CheckpointError: there is no such file, or it describes no task.
    """
    folder = locate(folder)
    try:
        task = with_current_names(dict(json.loads((folder / "task.json").read_text())["task"]))
        if isinstance(task["name"], str) and isinstance(task["arguments"], dict):
            return task
        raise ValueError("a task needs a name and arguments")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: no readable task.json ({error}); train the cell again"
        ) from error


def with_current_names(value: Any) -> Any:
    """JSON values of an earlier version with the names and arguments of this one.

    Arguments that are new have their defaults, which keep the behaviour of earlier versions.
    """
    if isinstance(value, list):
        return [with_current_names(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    current = {key: with_current_names(entry) for key, entry in value.items()}
    if isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict):
        current["name"] = RENAMED.get(value["name"], value["name"])
        arguments = current["arguments"].items()
        given = {RENAMED.get(name, name): argument for name, argument in arguments}
        current["arguments"] = {**_default_arguments(current["name"]), **given}
    return current


def load_weights(folder: Path) -> dict[str, Any]:
    return weights.read(locate(folder) / "weights.safetensors")


def initialize_from_checkpoint(task: Any, folder: Path) -> list[str]:
    """Copy the weights of a checkpoint to the network of a task; the names that were copied.

    The last layer is copied if the checkpoint's task predicts the same thing. The network of a
    segmentation goes to the `segmenter` of a diagnosis.

    Raises:
        CheckpointError: the networks differ; nothing was changed.
    """
    tensors = load_weights(folder).items()
    state = {n.removeprefix("net."): value for n, value in tensors if n.startswith("net.")}
    description = read_description(folder)
    segmenter = getattr(task.net, "segmenter", None)
    if segmenter is not None and description["name"] == "Segmentation":
        return weights.load(segmenter, state, head=True, origin=str(folder))
    arguments = description["arguments"]
    classes = tuple(arguments.get("classes") or ())
    head = (
        description["name"] == type(task).__name__
        and arguments.get("label") in (None, task.label)
        and arguments.get("scheme") in (None, task.scheme)
        and classes in ((), tuple(task.classes))
    )
    return _load(task.net, state, head=head, origin=str(folder))


def initialize_from(task: Any, path: Path) -> list[str]:
    """Copy weights from a checkpoint folder, or all but the last layer from a weights file.

    In a network with an encoder, a weights file is for the encoder.

    Raises:
        CheckpointError: the networks differ; nothing was changed.
    """
    if path.is_dir():
        return initialize_from_checkpoint(task, path)
    if hasattr(task.net, "encoder"):
        return load_encoder(task.net.encoder, weights.read(path), origin=str(path))
    return _load(task.net, weights.read(path), head=False, origin=str(path))


def _load(net: Any, state: Mapping[str, Tensor], *, head: bool, origin: str) -> list[str]:
    if not head and not hasattr(net, "head_name"):
        raise CheckpointError(
            f"{origin}: weights of another task than that of {type(net).__name__}"
        )
    return weights.load(net, state, head=head, origin=origin)


@functools.cache
def _default_arguments(name: str) -> dict[str, Any]:
    """The arguments of a task or network that have a default, as JSON values."""
    for module in (tasks, nets):
        if name in module.__all__:
            parameters = inspect.signature(getattr(module, name)).parameters.items()
            defaults = {n: p.default for n, p in parameters if p.default is not p.empty}
            return {n: _to_json(n, value) for n, value in defaults.items()}
    return {}


def _write(aside: Path, task: Any, description: Mapping[str, Any], seed: int) -> None:
    if task.fits_in_one_call:
        estimators.dump(task.estimator, aside / "expert.skops")
    elif state := task.state_dict():
        tensors = {name: value.contiguous() for name, value in state.items()}
        save_file(tensors, aside / "weights.safetensors")
    about = {"lus_ray": lus_ray.__version__, "seed": seed, "task": description}
    if "file" in description:
        about["file"] = description["file"]
    (aside / "task.json").write_text(json.dumps(about, indent=1) + "\n")
    for path in aside.iterdir():
        files.fsync(path)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _file_of(function: Callable[..., Any]) -> dict[str, str] | None:
    """The study file that defines a task or network, unless that name is taken."""
    study, name = study_files.file_of(function), function.__name__
    if study is None:
        return None
    if name in (*tasks.__all__, *nets.__all__, *RENAMED) or study.find(name) is not function:
        raise CheckpointError(f"{study.path}: two networks or tasks are named {name!r}; rename one")
    return study.record


def _files_in(values: Any) -> Iterator[dict[str, str]]:
    """The study files of descriptions in JSON values."""
    for value in values:
        if isinstance(value, list):
            yield from _files_in(value)
        elif isinstance(value, dict):
            contents = (value[kind] for kind in ("net", "task") if kind in value)
            yield from (content["file"] for content in contents if "file" in content)


def _to_json(name: str, value: Any) -> Any:
    if isinstance(value, View | Track):
        return {type(value).__name__.lower(): asdict(value)}
    target = value.func if isinstance(value, partial) else value
    if inspect.isclass(target) and (target.__name__ in tasks.__all__ or _is_own_task(target)):
        return {"task": describe(value)}
    is_net = getattr(value, "__name__", None) in nets.__all__ or study_files.file_of(value)
    if isinstance(value, partial) or is_net:
        return {"net": describe(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple | list):
        return [_to_json(name, entry) for entry in value]
    raise CheckpointError(f"argument {name!r} is {value!r}; use plain values, a View or a network")


def _factory(description: Mapping[str, Any], module: Any, kind: str) -> Callable[..., Any]:
    try:
        name, arguments = description["name"], dict(description["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"a {kind} needs a name and arguments, not {description!r}"
        ) from error
    file = description.get("file")
    if name in module.__all__:
        target = getattr(module, name)
    elif file is None:
        raise CheckpointError(
            f"no {kind} {name!r} in this version{suggest(str(name), sorted(module.__all__))}"
        )
    else:
        target = study_files.require(file).find(name)
        if target is None or _is_own_task(target) != (module is tasks):
            raise CheckpointError(f"{file['name']} has no {kind} {name!r}; train the cell again")
    values = {key: _from_json(value) for key, value in arguments.items()}
    unknown = set(values) - set(inspect.signature(target).parameters)
    if unknown:
        raise CheckpointError(f"{kind} {name!r} takes no argument {sorted(unknown)[0]!r}")
    return partial(target, **values)


def _is_own_task(target: Any) -> bool:
    """Whether a class of a study file is a task; others are networks."""
    return (
        inspect.isclass(target)
        and issubclass(target, Task)
        and study_files.file_of(target) is not None
    )


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(entry) for entry in value)
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, content),) = value.items()
    if kind == "net":
        return _factory(content, nets, "network")
    if kind == "task":
        return _factory(content, tasks, "task")
    if kind not in ("view", "track"):
        return value
    try:
        return View(**content) if kind == "view" else Track(**content)
    except TypeError as error:
        raise CheckpointError(f"not a view: {content!r}") from error
