"""A checkpoint: a folder with a task in JSON and its weights, read without running code.

    task.json             class and arguments of the task as JSON values, and the seed
    weights.safetensors   tensors of a network
    expert.skops          a scikit-learn estimator

Only tasks and networks of this package and the types listed in `estimators` are loaded, and those
of a study file that was given (`lus_ray.study_files`): `file` in task.json names it with its hash.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import lus_ray
from lus_ray.errors import CellError, CheckpointError, InputError
from lus_ray.nets.encoder import load_encoder
from lus_ray.nets.pretrained import weights
from lus_ray.storage import files, paths
from lus_ray.training import estimators
from lus_ray.training.description import Description
from lus_ray.training.description import build as build
from lus_ray.training.description import describe as describe
from lus_ray.training.description import factory as factory
from lus_ray.training.description import with_current_names as with_current_names


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
    return initialize_from_state(task, weights.read(path), origin=str(path))


def initialize_from_state(task: Any, state: Mapping[str, Tensor], *, origin: str) -> list[str]:
    """Copy the tensors of a weights file, as `initialize_from`; errors name `origin`."""
    if hasattr(task.net, "encoder"):
        return load_encoder(task.net.encoder, state, origin=origin)
    return _load(task.net, state, head=False, origin=origin)


def _load(net: Any, state: Mapping[str, Tensor], *, head: bool, origin: str) -> list[str]:
    if not head and not hasattr(net, "head_name"):
        raise CheckpointError(
            f"{origin}: weights of another task than that of {type(net).__name__}"
        )
    return weights.load(net, state, head=head, origin=origin)


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
