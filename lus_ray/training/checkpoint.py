"""A checkpoint: a folder with a task in JSON and its weights, read back without running code.

    task.json             the task's class, its arguments as JSON values, the seed
    weights.safetensors   tensors of a network
    expert.skops          a scikit-learn estimator

Why so narrow: a name in `task.json` is looked up among the tasks and networks of this package and
nowhere else, and an estimator may hold the types listed here and no others.
"""

import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import lus_ray
from lus_ray import nets, tasks
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import CellError, CheckpointError, InputError, LusError
from lus_ray.nets.encoder import load_encoder
from lus_ray.nets.pretrained import weights
from lus_ray.storage import files, paths
from lus_ray.tasks.sklearn_expert import Expert

TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
"""The types of scikit-learn that our experts need beyond what skops trusts by itself."""

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
    """A `functools.partial` of a task or network as JSON values, every argument bound.

    Raises:
        CheckpointError: an argument has no JSON form here.
    """
    function = factory.func if isinstance(factory, partial) else factory
    given = factory.keywords if isinstance(factory, partial) else {}
    parameters = inspect.signature(function).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    arguments = {name: _plain(name, value) for name, value in {**defaults, **given}.items()}
    return {"name": function.__name__, "arguments": arguments}


def build(description: Mapping[str, Any]) -> Any:
    """The task that `describe` described, with fresh weights.

    Raises:
        CheckpointError: it names no task of this package, or arguments that do not fit.
    """
    make = _make(description, tasks, "task")
    try:
        return make()
    except LusError:
        raise
    except Exception as error:  # whatever a network does with an argument of the wrong kind
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"task {description['name']!r} cannot be built with these arguments "
            f"({type(error).__name__}: {reason}); train the cell again"
        ) from error


def save(folder: Path, task: Any, description: Mapping[str, Any], *, seed: int) -> None:
    """Write a checkpoint folder: aside first, then in the place of an earlier one.

    The earlier one is moved away and removed only when the new one is there, so that at every
    moment `load` finds one that is whole.

    Raises:
        CellError: the disk takes no more; an earlier checkpoint stays.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _write(aside, task, description, seed)
        if folder.exists():
            shutil.rmtree(_before(folder), ignore_errors=True)
            folder.rename(_before(folder))
        aside.rename(folder)
        files.fsync(folder.parent)
    except (OSError, SafetensorError) as error:
        raise CellError(
            f"{folder}: not written: {paths.describe_error(error)}; make room there and run the "
            "same command again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(_before(folder), ignore_errors=True)


def locate(folder: Path) -> Path:
    """The folder itself, or the earlier checkpoint where a kill left it moved away."""
    return _before(folder) if not folder.exists() and _before(folder).exists() else folder


def load(folder: Path | str) -> Any:
    """The task of a checkpoint folder, ready to predict.

    Raises:
        CheckpointError: a file is missing, damaged, or holds what is not trusted.
    """
    folder = locate(Path(folder))
    description = read_description(folder)
    try:
        task = build(description)
    except InputError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    if isinstance(task, Expert):
        task.model = _load_estimator(folder / "expert.skops")
    elif task.state_dict():
        state = load_weights(folder)
        try:
            task.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{folder}: the weights do not fit the task: {reason}") from error
    return task if isinstance(task, Expert) else task.eval()


def read_description(folder: Path) -> Description:
    """The task part of `task.json`: its `name` and its `arguments`.

    Raises:
        CheckpointError: there is no such file, or it tells of no task.
    """
    folder = locate(folder)
    try:
        about = with_current_names(dict(json.loads((folder / "task.json").read_text())["task"]))
        if isinstance(about["name"], str) and isinstance(about["arguments"], dict):
            return about
        raise ValueError("a task needs a name and arguments")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: no readable task.json ({error}); train the cell again"
        ) from error


def with_current_names(value: Any) -> Any:
    """JSON values of an earlier version with the names of this one."""
    if isinstance(value, list):
        return [with_current_names(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    current = {key: with_current_names(entry) for key, entry in value.items()}
    if isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict):
        current["name"] = RENAMED.get(value["name"], value["name"])
        current["arguments"] = {
            RENAMED.get(name, name): argument for name, argument in current["arguments"].items()
        }
    return current


def load_weights(folder: Path) -> dict[str, Any]:
    """The tensors of a checkpoint folder by name."""
    return weights.read(locate(folder) / "weights.safetensors")


def initialize_from_checkpoint(task: Any, folder: Path) -> list[str]:
    """Give the network of a task the weights of a checkpoint; the names that were copied.

    The last layer comes along where the checkpoint's task predicts the same thing. A segmentation
    gives its network to the `segmenter` of a diagnosis.

    Raises:
        CheckpointError: these are two different networks; nothing was changed.
    """
    state = load_weights(folder)
    of_net = {n.removeprefix("net."): v for n, v in state.items() if n.startswith("net.")}
    before = read_description(folder)
    segmenter = getattr(task.net, "segmenter", None)
    if segmenter is not None and before["name"] == "Segmentation":
        return weights.load(segmenter, of_net, head=True, origin=str(folder))
    given = before["arguments"]
    same = (
        before["name"] == type(task).__name__
        and given.get("label") in (None, task.label)
        and given.get("scheme") in (None, task.scheme)
    )
    return _give(task.net, of_net, head=same, origin=str(folder))


def initialize_from(task: Any, path: Path) -> list[str]:
    """The same from a checkpoint folder, or all but the last layer from a file of weights.

    Of a network with an encoder, such a file is for the encoder.

    Raises:
        CheckpointError: these are two different networks; nothing was changed.
    """
    if path.is_dir():
        return initialize_from_checkpoint(task, path)
    if hasattr(task.net, "encoder"):
        return load_encoder(task.net.encoder, weights.read(path), origin=str(path))
    return _give(task.net, weights.read(path), head=False, origin=str(path))


def _give(net: Any, state: Mapping[str, Tensor], *, head: bool, origin: str) -> list[str]:
    """Put a state into a network; one without a last layer of its own takes only a whole one."""
    if not head and not hasattr(net, "head_name"):
        raise CheckpointError(f"{origin}: is for another task than that of a {type(net).__name__}")
    return weights.load(net, state, head=head, origin=origin)


def _write(aside: Path, task: Any, description: Mapping[str, Any], seed: int) -> None:
    if isinstance(task, Expert):
        import skops.io  # here, as it imports all of scikit-learn: networks need none of it

        skops.io.dump(task.model, aside / "expert.skops")
    elif state := task.state_dict():
        save_file(
            {name: value.contiguous() for name, value in state.items()},
            aside / "weights.safetensors",
        )
    about = {"lus_ray": lus_ray.__version__, "seed": seed, "task": description}
    (aside / "task.json").write_text(json.dumps(about, indent=1) + "\n")
    for path in aside.iterdir():
        files.fsync(path)


def _before(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _load_estimator(path: Path) -> Any:
    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if unknown:
            raise CheckpointError(
                f"{path}: holds {unknown[0]}, which is not trusted; do not use it"
            )
        return skops.io.load(path, trusted=list(TRUSTED))
    except CheckpointError:
        raise
    except Exception as error:  # skops raises many kinds on damaged files
        raise CheckpointError(f"{path}: not readable ({error}); train the cell again") from error


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, View):
        return {"view": asdict(value)}
    if isinstance(value, Track):
        return {"track": asdict(value)}
    made = value.func if isinstance(value, partial) else value
    if inspect.isclass(made) and made.__name__ in tasks.__all__:
        return {"task": describe(value)}
    if isinstance(value, partial) or (inspect.isclass(value) and value.__name__ in nets.__all__):
        return {"net": describe(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple | list):
        return [_plain(name, entry) for entry in value]
    raise CheckpointError(f"argument {name!r} is {value!r}; use plain values, a View or a network")


def _make(description: Mapping[str, Any], room: Any, kind: str) -> Callable[..., Any]:
    try:
        name, arguments = description["name"], dict(description["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"a {kind} needs a name and arguments, not {description!r}"
        ) from error
    if name not in room.__all__:
        raise CheckpointError(f"no {kind} {name!r} in this version; it has {sorted(room.__all__)}")
    made = {key: _value(value) for key, value in arguments.items()}
    target = getattr(room, name)
    unknown = set(made) - set(inspect.signature(target).parameters)
    if unknown:
        raise CheckpointError(f"{kind} {name!r} takes no argument {sorted(unknown)[0]!r}")
    return partial(target, **made)


def _value(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"view"}:
        return _view(View, value["view"])
    if isinstance(value, dict) and set(value) == {"track"}:
        return _view(Track, value["track"])
    if isinstance(value, dict) and set(value) == {"net"}:
        return _make(value["net"], nets, "network")
    if isinstance(value, dict) and set(value) == {"task"}:
        return _make(value["task"], tasks, "task")
    if isinstance(value, list):
        return tuple(_value(entry) for entry in value)
    return value


def _view(kind: Callable[..., Any], fields: Any) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise CheckpointError(f"not a view: {fields!r}") from error
