"""`--weights`: which arms start from which file.

    W                              every arm whose network it fits
    LEFT=W[,LEFT=W...]             LEFT is an arm (a pattern), a network (the name of its file in
                                   lus_ray/nets, such as unetpp) or an encoder, such as resnet50

W is a path, a published name, or NAME=FILE for one that cannot be downloaded.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lus_ray.errors import CheckpointError, InputError
from lus_ray.experiment import Arm, Experiment
from lus_ray.nets.pretrained import published, weights
from lus_ray.suggestions import suggest
from lus_ray.training import checkpoint

Weights = Path | str | Mapping[str, Path | str]


def to_text(given: Weights | None) -> str | None:
    """The text of the option; a mapping has a file or published name for each LEFT."""
    if isinstance(given, Mapping):
        return ",".join(f"{left}={source}" for left, source in given.items())
    return None if given is None else str(given)


def make_absolute(text: str) -> str:
    """The option with its existing paths as seen from any folder."""
    parts = _split(text)
    return ",".join(
        f"{left}={_absolute(source)}" if left else _absolute(source) for left, source in parts
    )


def initialise(experiment: Experiment, text: str) -> Experiment:
    """The experiment whose arms start from the weights of the option.

    Raises:
        InputError: weights are unknown or fit no arm, or LEFT names nothing or an arm twice.
        FetchError: as `published.download`.
    """
    starts: dict[str, str] = {}
    for left, source in _split(text):
        arms = _select(experiment, left)
        for name, path in _fitting(arms, published.find(source), left).items():
            if name in starts:
                raise InputError(f"--weights {left}={source}: {name!r} has weights already")
            starts[name] = path
    return experiment.with_arms(
        tuple(replace(arm, weights=starts.get(arm.name, arm.weights)) for arm in experiment.arms)
    )


def _split(text: str) -> list[tuple[str, str]]:
    """Pairs of LEFT, empty for all arms, and W. Names of arms may contain commas."""
    if _is_source(text):
        return [("", text)]
    pairs, pending = [], ""
    for part in text.split(","):
        pending += part
        left, equals, source = pending.partition("=")
        if equals:
            pairs.append((left.strip(), source.strip()))
            pending = ""
        else:
            pending += ","
    if pending:
        raise InputError(f"--weights: {pending.rstrip(',')!r} names no file; write LEFT=WEIGHTS")
    return pairs


def _is_source(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return not equals or name in published.PUBLISHED or Path(text).exists()


def _absolute(source: str) -> str:
    """An existing path, also that of NAME=FILE, made absolute; other text as it is."""
    name, equals, file = ("", "", source) if Path(source).exists() else source.partition("=")
    return f"{name}{equals}{Path(file).resolve()}" if file and Path(file).exists() else source


def _select(experiment: Experiment, left: str) -> list[Arm]:
    """The arms that LEFT means, of those that train a network from scratch."""
    arms = [arm for arm in experiment.arms if arm.recipe and arm.start is None and not arm.baseline]
    if not left:
        return arms
    names = {arm.name: _names(arm) for arm in arms}
    if chosen := [arm for arm in arms if fnmatch.filter(names[arm.name], left)]:
        return chosen
    known = [*names, *{name: None for own in names.values() for name in own[1:]}]
    raise InputError(
        f"--weights {left}=...: no arm that trains a network, network or encoder {left!r}"
        f"{suggest(left, known)}"
    )


def _names(arm: Arm) -> list[str]:
    """The arm, the file of its network, and its encoder."""
    net = getattr(arm.task(), "net", None)
    encoder = getattr(getattr(net, "encoder", None), "kind", None)
    own = [] if net is None else [type(net).__module__.rpartition(".")[2]]
    return [arm.name, *own, *([encoder] if encoder else [])]


def _fitting(arms: list[Arm], path: Path, left: str) -> dict[str, str]:
    """The path by the names of the arms whose networks it fits; it is read once."""
    fitting, refused = {}, []
    try:
        state = None if path.is_dir() else weights.read(path)
    except CheckpointError as error:
        arms, refused = [], [str(error)]
    for arm in arms:
        try:
            if state is None:
                checkpoint.initialize_from_checkpoint(arm.task(), path)
            else:
                checkpoint.initialize_from_state(arm.task(), state, origin=str(path))
            fitting[arm.name] = str(path)
        except CheckpointError as error:
            refused.append(str(error))
    if not fitting:
        why = refused[0] if refused else f"{path}: none of these arms trains a network from scratch"
        of_left = f" of {left!r}" if left else ""
        raise CheckpointError(f"--weights: no arm{of_left} can start from them: {why}")
    return fitting
