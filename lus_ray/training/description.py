"""Tasks and networks as JSON values with every argument, and back, without running other code.

Only classes of this package are named, and those of a study file that was given
(`lus_ray.study_files`): `file` names it with its hash.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from lus_ray import nets, study_files, tasks
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import CheckpointError, LusError
from lus_ray.suggestions import suggest
from lus_ray.tasks.task import Task

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
    make = factory(description)
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


def factory(description: Mapping[str, Any]) -> Callable[[], Any]:
    """What `describe` describes; CheckpointError as `build`."""
    return _factory(description, tasks, "task")


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


@functools.cache
def _default_arguments(name: str) -> dict[str, Any]:
    """The arguments of a task or network that have a default, as JSON values."""
    for module in (tasks, nets):
        if name in module.__all__:
            parameters = inspect.signature(getattr(module, name)).parameters.items()
            defaults = {n: p.default for n, p in parameters if p.default is not p.empty}
            return {n: _to_json(n, value) for n, value in defaults.items()}
    return {}


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
    if isinstance(value, Mapping):
        return {key: _to_json(name, entry) for key, entry in value.items()}
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
