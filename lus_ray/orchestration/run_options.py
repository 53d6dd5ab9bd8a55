"""From the options of a command to the request of a run."""

import fnmatch
import importlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from lus_ray import study_files
from lus_ray.data.labels import Label
from lus_ray.data.store import read_sources
from lus_ray.errors import ArmError, InputError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import Protocol, official
from lus_ray.orchestration import initial_weights, search_samples, studies
from lus_ray.orchestration.target_label import choose_label
from lus_ray.runs.cohort import check_names
from lus_ray.runs.layout import PHANTOM
from lus_ray.runs.plan import RunRequest
from lus_ray.storage.paths import PathOrUri, join
from lus_ray.suggestions import suggest
from lus_ray.tasks.task import with_arguments


def build_request(
    name: str, *, size: str, out: PathOrUri, data: PathOrUri | None = None,
    arms: str | None = None, folds: str | None = None, samples: int | None = None,
    weights: str | None = None, splits: Path | str | None = None, domains: str | None = None,
    weak: bool = False, settings: Sequence[str] = (), address: str | None = None,
    seed: int | None = None, seeds: int | None = None, tensorboard: bool = False,
    dashboard: bool = False,
    label: str | None = None, notify: Callable[[str], None],
) -> RunRequest:  # fmt: skip
    """The request that the options of `lus run` stand for; makes phantom clips without `data`."""
    options: dict[str, Any] = {
        "arms": arms, "folds": folds, "samples": samples, "weights": weights, "splits": splits,
        "settings": settings, "seed": seed,
    }  # fmt: skip
    experiment = find_experiment(name)
    if experiment.target is not None:
        target = choose_label(name, data, label, notify)
        experiment, label = find_experiment(name, target), target.name
    elif label is not None:
        raise InputError(
            f"--label: {experiment.name} has its own labels; leave it out, or write 'lus run "
            f"classify --label {shlex.quote(label)}'"
        )
    chosen = apply_options(experiment, size, **options)
    if initialised := [arm.name for arm in chosen.arms if arm.weights]:
        notify(f"note: these start from --weights: {', '.join(initialised)}")
    if searched := search_samples.describe(chosen):
        notify(f"note: {searched}")
    more = {"data": data, "weak": weak, "domains": domains, "seeds": seeds, "label": label}
    command = format_command(name, size, options | more)
    numbers, names = parse_folds(chosen, folds), parse_domains(experiment, domains)
    if data is None:
        data = make_phantom_store(experiment, size, out, notify, seed=seed or 0)
    return RunRequest(
        chosen, data=data, out=out, size=size, folds=numbers, seeds=seeds, domains=names,
        weak=weak, command=command, address=address, tensorboard=tensorboard, dashboard=dashboard,
    )  # fmt: skip


def find_experiment(name: str, target: Label | None = None) -> Experiment:
    """The experiment of a study or of a study file; `target` is for one that has any label.

    Raises:
        InputError: there is no such study, or the file defines none.
    """
    studies.refuse_unknown(name)
    file = study_files.load(name) if study_files.is_file_name(name) else None
    module = file.module if file else importlib.import_module(f"experiments.{name}")
    experiment = module.make(target) if target else getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise InputError(f"{name}: defines no EXPERIMENT; assign an Experiment to that name")
    return replace(experiment, name=file.name, file=file) if file else experiment


def apply_options(
    experiment: Experiment, size: str, *, arms: str | None = None, samples: int | None = None,
    settings: Sequence[str] = (), folds: str | None = None, weights: str | None = None,
    splits: Path | str | None = None, seed: int | None = None,
) -> Experiment:  # fmt: skip
    """The experiment at a size, with the arms, searches, settings and seed of a command.

    Raises InputError for arms and settings that it does not have, samples where no arm can be
    searched, and weights that fit no arm.
    """
    chosen = experiment.at(size)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    for setting in settings:
        try:
            chosen = chosen.with_arms(_apply_setting(chosen, setting))
        except InputError as error:
            raise InputError(f"--set {setting}: {error}") from None
    if splits is not None:
        chosen = replace(chosen, folds=choose_protocol(experiment, str(splits)))
    if arms is not None:
        chosen = chosen.only(match_arms(chosen.name, [arm.name for arm in chosen.arms], arms))
    if of_tasks := [setting for setting in settings if ".task." in setting.partition("=")[0]]:
        _refuse_unbuildable(chosen, " --set ".join(of_tasks))
    if samples is not None:
        chosen = search_samples.with_samples(chosen, samples)
    if weights is not None:
        chosen = initial_weights.initialise(chosen, weights)
    return chosen


def choose_protocol(experiment: Experiment, text: str) -> Protocol:
    """A protocol that the experiment names, or the folds of a file; InputError for neither."""
    if text in experiment.protocols:
        return experiment.protocols[text]
    if not Path(text).is_file():
        hint = suggest(text, list(experiment.protocols)) or "; give a JSON file like folds.json"
        known = studies.list_studies()
        if having := [name for name in known if text in find_experiment(name).protocols]:
            hint = f"; only {' and '.join(having)} have it{hint}"
        raise InputError(
            f"--splits {text}: no such file, and no protocol of {experiment.name}{hint}"
        )
    return official(Path(text))


def parse_folds(experiment: Experiment, text: str | None) -> tuple[int, ...]:
    """The fold numbers of "0,2"; InputError for another text or numbers it does not have."""
    try:
        numbers = () if text is None else tuple(map(int, text.split(",")))
    except ValueError:
        raise InputError(f"--folds {text}: write numbers with commas, such as 0,2") from None
    known = experiment.folds.numbers()
    if unknown := [number for number in numbers if number not in known]:
        listed = ", ".join(map(str, known))
        raise InputError(f"--folds {text}: no fold {unknown[0]}; {experiment.name} has {listed}")
    return numbers


def parse_domains(experiment: Experiment, text: str | None) -> tuple[str, ...]:
    """The store's names of the domains of an experiment from "A,B", in the order of their roles."""
    names = tuple(part.strip() for part in text.split(",")) if text else ()
    check_names(experiment, names)
    return names


def format_command(name: str, size: str, options: dict[str, Any]) -> str:
    """The command that makes these results again, for a shell in any folder."""
    study = str(Path(name).resolve()) if study_files.is_file_name(name) else name
    words = ["lus", "run", study, "--size", size]
    for key in (
        "data", "label", "arms", "folds", "seed", "seeds", "samples", "weights", "splits",
        "domains",
    ):  # fmt: skip
        if (value := options.get(key)) is not None:
            if key == "weights":
                value = initial_weights.make_absolute(value)
            elif key in ("data", "splits") and Path(value).exists():
                value = Path(value).resolve()
            words += [f"--{key}", str(value)]
    if options.get("weak"):
        words.append("--weak")
    for setting in options.get("settings", ()):
        words += ["--set", setting]
    return shlex.join(words)


def make_phantom_store(
    experiment: Experiment, size: str, out: PathOrUri, notify: Callable[[str], None], seed: int = 0
) -> PathOrUri:
    """A store of phantom clips in the run folder; InputError if the size needs real data."""
    from lus_ray.data.ingest.pipeline import ingest

    options = experiment.sizes[size].phantom if size in experiment.sizes else {}
    if not options:
        raise InputError(f"{experiment.name} at size {size} needs clips; give --data STORE")
    store = join(out, PHANTOM)
    if not read_sources(store):
        notify("no --data given: making phantom clips (simulated lung ultrasound) ...")
        summary = ingest("phantom", None, store, **{**options, "seed": seed})
        notify(summary.text().partition("\n")[0])
    return store


def match_arms(study: str, names: Sequence[str], arms: str) -> tuple[str, ...]:
    """Arms named by a comma-separated list of patterns; a name may contain commas itself.

    A comma separates two patterns if every pattern then matches an arm.

    Raises:
        ArmError: a pattern matches no arm.
    """
    parts = arms.split(",")
    matches = _match_parts(names, parts)
    if matches is None:
        ends = range(len(parts) - 1, -1, -1)
        wrong = parts[next(e for e in ends if _match_parts(names, parts[:e]) is not None)].strip()
        raise ArmError(f"{study}: no arm {wrong!r}{suggest(wrong, names)}")
    return matches


def _match_parts(names: Sequence[str], parts: Sequence[str]) -> tuple[str, ...] | None:
    if not parts:
        return ()
    for end in range(1, len(parts) + 1):
        hits = fnmatch.filter(names, ",".join(parts[:end]).strip())
        if hits and (others := _match_parts(names, parts[end:])) is not None:
            return (*hits, *others)
    return None


def _apply_setting(experiment: Experiment, setting: str) -> tuple[Arm, ...]:
    """Arms after `[<arm>|arm].recipe.<field>=<value>` or `[<arm>|arm].task.<argument>=<value>`."""
    key, equals, text = setting.partition("=")
    which, _, path = key.rpartition(".recipe.") if ".recipe." in key else key.rpartition(".task.")
    if not equals or not which or not path:
        raise InputError("write arm.recipe.epochs=3, or <arm name>.recipe.lr=1e-4")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if which != "arm":
        experiment.arm(which)
    in_recipe = ".recipe." in key
    known = sorted({field.name for field in fields(Recipe)} - {"augment"})
    if in_recipe and path not in known:
        raise InputError(f"a recipe has no {path!r}{suggest(path, known)}")
    arms, num_changed = [], 0
    for arm in experiment.arms:
        changed = arm
        if which in ("arm", arm.name) and (arm.recipe is not None or not in_recipe):
            if in_recipe:
                assert arm.recipe is not None
                if which == "arm" and path == "epochs" and not arm.recipe.epochs:
                    arms.append(arm)  # it trains nothing
                    continue
                changed = replace(arm, recipe=replace(arm.recipe, **{path: value}))
            else:
                changed = replace(arm, task=with_arguments(arm.task, {path: value}))
                num_changed -= changed.task.keywords.get(path) != value  # type: ignore[attr-defined]
            num_changed += 1
        if not in_recipe and arm.members:
            # Members predict as they were trained: a setting of an arm is one of its copies too.
            copies = tuple(
                with_arguments(member, {path: value}) if which in ("arm", name) else member
                for name, member in zip(arm.members, arm.task.keywords["members"], strict=True)  # type: ignore[attr-defined]
            )
            changed = replace(changed, task=with_arguments(changed.task, {"members": copies}))
        arms.append(changed)
    if not num_changed:
        raise InputError(f"no arm takes it; see 'lus run {experiment.name} --help'")
    return tuple(arms)


def _refuse_unbuildable(experiment: Experiment, settings: str) -> None:
    """Raise InputError where the task of an arm does not accept its settings."""
    for arm in experiment.arms:
        try:
            try:
                with torch.device("meta"):  # no memory for weights
                    arm.task()
            except (RuntimeError, TypeError, ValueError):  # some read values, which "meta" lacks
                arm.task()
        except Exception as error:  # a task may be one of the user's own
            name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            text = " ".join(str(error).split())
            raise InputError(f"--set {settings}: arm {arm.name!r}: {name}{text}") from error
