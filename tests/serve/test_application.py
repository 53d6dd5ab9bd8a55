"""What an application is asked with travels in the message, or beside it where it is large."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from lus_ray.inference.model_selection import Model
from serve.application import BY_VALUE_BYTES, Served

LARGE = np.zeros(BY_VALUE_BYTES + 1, np.uint8)
SMALL = LARGE[: BY_VALUE_BYTES // 2]
REFERENCE = ray.ObjectRef(bytes(range(28)))


@dataclass
class Handle:
    """In the place of Ray's handle of an application: keeps how it was asked."""

    asked: list[bool] = field(default_factory=list)
    by_reference: bool = True

    def options(self, *, method_name: str, _by_reference: bool = True) -> "Handle":
        assert method_name == "predict"
        return Handle(self.asked, _by_reference)

    async def remote(self, *args: Any) -> list[Any]:
        self.asked.append(self.by_reference)
        return [len(args)] * len(args)


@pytest.mark.parametrize(
    ("app", "args", "by_reference"),
    [
        ("backbone", [SMALL, SMALL], False),
        ("backbone", [SMALL, SMALL, SMALL], True),
        ("backbone", [LARGE], True),
        ("backbone", [SMALL, REFERENCE], True),
        ("experts-severity.1", [{"outputs": SMALL, "features": SMALL}], False),
        ("experts-severity.1", [{"outputs": SMALL, "features": LARGE}], True),
        ("segmenter.2", [SMALL, True], True),
    ],
)
def test_small_arguments_travel_in_the_message(app, args, by_reference):
    model = Model("r/a", "r", "a", 0, "backbone", "", Path(), "f")
    handle = Handle()
    asyncio.run(Served(app, (model,), None, handle).ask(*args))
    assert handle.asked == [by_reference]


def test_clips_that_wait_are_asked_for_with_one_call():
    async def asked() -> list[Any]:
        model = Model("r/a", "r", "a", 0, "backbone", "", Path(), "f")
        served = Served("backbone", (model,), None, Handle())
        return await asyncio.gather(*(served.together(SMALL[:8]) for _ in range(5)))

    assert asyncio.run(asked()) == [1, 4, 4, 4, 4]
