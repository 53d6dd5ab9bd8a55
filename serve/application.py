"""A Serve application that holds models, and how it is called.

An application is named after its slot (`backbone`, `experts-severity`, ...), with a tag after a
dot where two generations of a slot may run side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ray

from lus_ray.inference.served_model import ServedModel
from serve.batching import Batcher

SOURCES = {"experts": "backbone", "aggregators": "scorer"}
"""The slot that a slot reads, by its name before the first dash; the others read frames."""
FRAME_SLOTS = ("backbone", "classifiers", "scorer", "segmenter")
MAX_CLIPS_PER_CALL = 8
BY_VALUE_BYTES = 2**20
"""Limit for all arguments of a call; Serve's own messages hold at most four times as much."""
MASK_SLOT = "segmenter"
"""Its results may exceed that limit."""


@dataclass(frozen=True)
class ModelApplication:
    """A running application; `reads` and `parity` are those of its `DeploymentInfo`."""

    name: str
    models: tuple[ServedModel, ...]
    reads: str | None
    handle: Any = field(compare=False)
    parity: dict[str, float] = field(default_factory=dict, compare=False)
    on_gpu: bool = field(default=False, compare=False)

    @property
    def slot(self) -> str:
        return slot_of(self.name)

    @property
    def source(self) -> str | None:
        return source_slot(self.slot)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its first model; applications that others read have one model."""
        return self.models[0].fingerprint

    @cached_property
    def batch(self) -> Batcher[Any, Any]:
        """Sends the clips that wait while earlier ones are under way in one call."""

        async def call(clips: list[Any]) -> list[Any]:
            return list(await self.call(*clips))

        return Batcher(call, limit=MAX_CLIPS_PER_CALL)

    async def call(self, *args: Any, method: str = "predict") -> Any:
        """The application's predictions; small arguments travel in the message, which is faster."""
        is_small = self.slot != MASK_SLOT and sum(map(_num_bytes, args)) <= BY_VALUE_BYTES
        if (method, is_small) not in self._methods:  # building one is slow
            self._methods[method, is_small] = self.handle.options(
                method_name=method, _by_reference=not is_small
            )
        return await self._methods[method, is_small].remote(*args)

    @cached_property
    def _methods(self) -> dict[tuple[str, bool], Any]:
        """By name, and whether the arguments travel in the message."""
        return {}


Route = dict[str, ModelApplication]
"""The application that serves each slot."""


def slot_of(name: str) -> str:
    return name.partition(".")[0]


def source_slot(slot: str) -> str | None:
    """The slot that a slot reads; None where it reads frames."""
    return SOURCES.get(slot.partition("-")[0])


def _num_bytes(arg: Any) -> int:
    if isinstance(arg, ray.ObjectRef):
        return BY_VALUE_BYTES + 1
    if isinstance(arg, Mapping):
        return sum(map(_num_bytes, arg.values()))
    return getattr(arg, "nbytes", 0)
