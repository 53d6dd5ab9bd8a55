"""Frozen dataclasses with pydantic validation and one-line errors.

Strict: the only conversion is from int to float.
"""

from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from lus_ray.errors import ArmError

Settings = TypeVar("Settings", bound=type)

CONFIG = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


def _check_order(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ValueError("give (low, high) with low <= high")
    return limits


Ordered = AfterValidator(_check_order)
"""Annotates a pair (low, high)."""

NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], Ordered]
PositiveRange = Annotated[tuple[Positive, Positive], Ordered]


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def settings(cls: Settings) -> Settings:
    """Make a class a frozen dataclass that raises ArmError for an invalid value."""
    checked: Any = dataclass(cls, frozen=True, config=CONFIG)
    initialise = checked.__init__

    @wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            initialise(self, *args, **kwargs)
        except ValidationError as error:
            names = [field.name for field in fields(checked)]
            raise ArmError(f"{cls.__name__}: {_describe(error, names)}") from None

    checked.__init__ = __init__
    return checked


def _describe(error: ValidationError, names: list[str]) -> str:
    """The first violation in one line: field, value, constraint."""
    first = error.errors(include_url=False)[0]
    field, *inner = first["loc"]
    name = names[field] if isinstance(field, int) and field < len(names) else field
    place = f"{name}" + "".join(f"[{part}]" for part in inner if isinstance(part, int))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place} is {first['input']!r}; {message[:1].lower()}{message[1:]}"
