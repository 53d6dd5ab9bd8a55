"""From the words of a command to what is run: experiment, size, arms, folds, settings."""

import fnmatch
import importlib
import json
import pkgutil
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lus_ray.data.store import read_sources
from lus_ray.errors import ArmError, CheckpointError, InputError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import official
from lus_ray.nets.pretrained.published import fetch
from lus_ray.runs.cohort import check_names
from lus_ray.storage.paths import PathOrUri, join
from lus_ray.tasks.task import with_arguments
from lus_ray.training import checkpoint


def find(name: str) -> Experiment:
    """The experiment of the module `experiments/<name>.py`.

    Raises:
        InputError: there is none of that name.
    """
    folder = importlib.import_module("experiments").__path__
    known = sorted(module.name for module in pkgutil.iter_modules(folder))
    if name not in known:
        raise InputError(f"no experiment {name!r}; there are {', '.join(known)}")
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def at(
    experiment: Experiment, size: str, *, arms: str | None = None, samples: int | None = None,
    settings: Sequence[str] = (), folds: str | None = None, weights: str | None = None,
    splits: Path | None = None,
) -> Experiment:  # fmt: skip
    """The experiment at a size, with the arms, searches and settings that a command names.

    Raises:
        InputError: the experiment has no such arm or setting, or no arm can begin with `weights`.
    """
    chosen = experiment.at(size)
    if samples is not None:
        chosen = chosen.with_arms(tuple(_searching(arm, samples) for arm in chosen.arms))
    for setting in settings:
        chosen = chosen.with_arms(_set(chosen, setting))
    if splits is not None:
        chosen = replace(chosen, folds=official(splits))
    if arms:
        chosen = chosen.only(_matching(chosen, arms))
    if weights is not None:
        chosen = _beginning(chosen, weights_path(weights))
    return chosen


def weights_path(name: str) -> Path:
    """A file of weights, a checkpoint folder, or the official file of that name, fetched once."""
    path = Path(name)
    return path.resolve() if path.exists() else fetch(name)


def numbers(text: str | None) -> tuple[int, ...]:
    """Fold numbers from "0,2"."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"--folds {text}: write numbers with commas, such as 0,2") from None


def domains(experiment: Experiment, text: str | None) -> tuple[str, ...]:
    """The store's names of the domains of an experiment from "A,B", in the order of their roles.

    Raises:
        InputError: the experiment compares no domains, or not so many.
    """
    names = tuple(part.strip() for part in text.split(",")) if text else ()
    check_names(experiment, names)
    return names


def command(name: str, size: str, choice: dict[str, Any]) -> str:
    """The command that makes these results again, for a shell in any folder."""
    words = ["lus", "run", name, "--size", size]
    for key in ("data", "arms", "folds", "samples", "weights", "splits", "domains"):
        if (value := choice.get(key)) is not None:
            if key in ("data", "weights", "splits") and Path(value).exists():
                value = Path(value).resolve()
            words += [f"--{key}", str(value)]
    if choice.get("weak"):
        words.append("--weak")
    for setting in choice.get("settings", ()):
        words += ["--set", setting]
    return shlex.join(words)


def phantom_store(
    experiment: Experiment, size: str, out: PathOrUri, say: Callable[[str], None]
) -> PathOrUri:
    """A store of phantom clips beside the run, made once; only for sizes that name their phantom.

    Raises:
        InputError: the size needs real data.
    """
    from lus_ray.data.ingest.pipeline import ingest

    options = experiment.sizes[size].phantom if size in experiment.sizes else {}
    if not options:
        raise InputError(f"{experiment.name} at size {size} needs clips; give --data STORE")
    store = join(out, "phantom")
    if not read_sources(store):
        say("no --data: making phantom clips")
        say(ingest("phantom", None, store, **options).text())
    return store


def _matching(experiment: Experiment, arms: str) -> tuple[str, ...]:
    """Arms named by a list with commas, patterns allowed; a name may hold commas itself."""
    names = [arm.name for arm in experiment.arms]
    parts, found, start = arms.split(","), [], 0
    while start < len(parts):
        for end in range(len(parts), start, -1):
            pattern = ",".join(parts[start:end]).strip()
            if hits := [name for name in names if fnmatch.fnmatchcase(name, pattern)]:
                found += hits
                start = end
                break
        else:
            wrong = parts[start].strip()
            raise ArmError(f"{experiment.name}: no arm {wrong!r}; its arms are {'; '.join(names)}")
    return tuple(found)


def _beginning(experiment: Experiment, path: Path) -> Experiment:
    """The experiment whose arms begin with these weights, those whose network takes them."""
    begun, refused = [], []
    for arm in experiment.arms:
        if arm.recipe is not None and arm.start is None and not arm.baseline:
            try:
                checkpoint.initialize_from(arm.task(), path)
                begun.append(arm.name)
            except CheckpointError as error:
                refused.append(str(error))
    if not begun:
        why = refused[0] if refused else f"{path}: none of these arms trains a network from nothing"
        raise CheckpointError(f"--weights: no arm can begin with them: {why}")
    return experiment.with_arms(
        tuple(replace(a, weights=str(path)) if a.name in begun else a for a in experiment.arms)
    )


def _searching(arm: Arm, samples: int) -> Arm:
    return arm if arm.search is None else replace(arm, search=replace(arm.search, samples=samples))


def _set(experiment: Experiment, setting: str) -> tuple[Arm, ...]:
    """Arms after `[<arm>|arm].recipe.<field>=<value>` or `[<arm>|arm].task.<argument>=<value>`."""
    key, equals, text = setting.partition("=")
    which, _, path = key.rpartition(".recipe.") if ".recipe." in key else key.rpartition(".task.")
    if not equals or not which or not path:
        raise InputError(
            f"--set {setting}: write arm.recipe.epochs=3, or <arm name>.recipe.lr=1e-4"
        )
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if which != "arm":
        experiment.arm(which)
    in_recipe = ".recipe." in key
    if in_recipe:
        _check_field(setting, path)
    arms, num_changed = [], 0
    for arm in experiment.arms:
        changed = arm
        if which in ("arm", arm.name) and (arm.recipe is not None or not in_recipe):
            if in_recipe:
                assert arm.recipe is not None
                changed = replace(arm, recipe=replace(arm.recipe, **{path: value}))
            else:
                changed = replace(arm, task=with_arguments(arm.task, {path: value}))
                num_changed -= changed.task.keywords.get(path) != value  # type: ignore[attr-defined]
            num_changed += 1
        if not in_recipe and arm.members:
            # Members answer as they were trained: what is set of an arm is set of its copies.
            copies = tuple(
                with_arguments(member, {path: value}) if which in ("arm", name) else member
                for name, member in zip(arm.members, arm.task.keywords["members"], strict=True)  # type: ignore[attr-defined]
            )
            changed = replace(changed, task=with_arguments(changed.task, {"members": copies}))
        arms.append(changed)
    if not num_changed:
        raise InputError(f"--set {setting}: no arm takes it")
    return tuple(arms)


def _check_field(setting: str, name: str) -> None:
    known = {field.name for field in fields(Recipe)} - {"augment"}
    if name not in known:
        raise InputError(f"--set {setting}: a recipe has {sorted(known)}")
