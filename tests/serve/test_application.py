"""Small arguments travel in the message, large ones beside it; waiting clips share a call."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from lus_ray.inference.served_model import ServedModel
from serve.application import BY_VALUE_BYTES, ModelApplication, RemoteStage, slot_of

LARGE = np.zeros(BY_VALUE_BYTES + 1, np.uint8)
SMALL = LARGE[: BY_VALUE_BYTES // 2]
REFERENCE = ray.ObjectRef(bytes(range(28)))
MODEL = ServedModel("r/a", "r", "a", 0, "backbone", "", Path(), "f")


@dataclass
class FakeHandle:
    calls: list[bool] = field(default_factory=list)
    by_reference: bool = True

    def options(self, *, method_name: str, _by_reference: bool = True) -> "FakeHandle":
        assert method_name == "predict"
        return FakeHandle(self.calls, _by_reference)

    async def remote(self, *args: Any) -> list[Any]:
        self.calls.append(self.by_reference)
        return [len(args)] * len(args)


@pytest.mark.parametrize(
    ("name", "args", "by_reference"),
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
def test_small_arguments_travel_in_the_message(name, args, by_reference):
    handle = FakeHandle()
    asyncio.run(RemoteStage(slot_of(name), handle)("predict", *args))
    assert handle.calls == [by_reference]


def test_waiting_clips_share_a_call():
    async def predict() -> list[Any]:
        application = ModelApplication(
            "backbone", (MODEL,), None, RemoteStage("backbone", FakeHandle())
        )
        return await asyncio.gather(*(application.batch(SMALL[:8]) for _ in range(5)))

    assert asyncio.run(predict()) == [1, 4, 4, 4, 4]
