"""Settings of an arm by name, as a search samples them.

A name is a field of the recipe, or `task.<argument>`. Dots lead on inside: `augment.rotate_deg` is
a field, `task.backbone.dropout` an argument of a network, `task.parameters.C` an entry, and
`task.positions.0` a position in a sequence.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any

from lus_ray.errors import ArmError
from lus_ray.experiment import Arm

TASK = "task"
UNKNOWN = (LookupError, TypeError, ValueError, AttributeError)
"""What a name that leads nowhere raises on its way."""


def apply_settings(arm: Arm, settings: Mapping[str, Any]) -> Arm:
    """The arm with these values; ArmError for a name that it does not have."""
    for name, value in settings.items():
        part, path = _start(arm, name)
        try:
            changed = _replace(part, path, value)
        except UNKNOWN:
            raise _no_setting(arm, name) from None
        is_task = name.startswith(f"{TASK}.")
        arm = replace(arm, task=changed) if is_task else replace(arm, recipe=changed)
    return arm


def read_setting(arm: Arm, name: str) -> Any:
    """The value of an arm, None where a library chooses it; ArmError for an unknown name."""
    part, path = _start(arm, name)
    try:
        for key in path:
            part = _entry(part, key)
    except UNKNOWN:
        raise _no_setting(arm, name) from None
    return part


def _no_setting(arm: Arm, name: str) -> ArmError:
    return ArmError(f"{arm.name}: has no setting {name!r}; see `lus run --help`")


def _start(arm: Arm, name: str) -> tuple[Any, list[str]]:
    is_task = name.startswith(f"{TASK}.")
    return (arm.task if is_task else arm.recipe), name.removeprefix(f"{TASK}.").split(".")


def _entry(part: Any, key: str) -> Any:
    if is_dataclass(part):
        return getattr(part, key)
    if isinstance(part, Mapping):
        return part.get(key)
    if isinstance(part, Sequence):
        return part[int(key)]
    return inspect.signature(part).parameters[key].default  # a partial has its bound values


def _replace(part: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    inner = _replace(_entry(part, key), rest, value)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{key: inner})
    if isinstance(part, Mapping):
        return {**part, key: inner}
    if isinstance(part, Sequence):
        return (*part[: int(key)], inner, *part[int(key) + 1 :])
    return partial(part, **{key: inner})
