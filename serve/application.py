"""An application that holds models, and how it is called: in this process or over Serve.

An application is named after its slot (`backbone`, `experts-severity`, ...), with a tag after a
dot where two generations of a slot may run side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import ray

from lus_ray.inference.schema import Layout
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


class Stage(Protocol):
    """Calls a method of the deployment that holds the models of an application."""

    is_local: bool
    """Whether the deployment is an object of this process, which takes arguments as they are."""

    async def __call__(self, method: str, *args: Any) -> Any: ...


class LocalStage:
    """A deployment's object in this process: no message, no copy."""

    is_local = True

    def __init__(self, deployment: Any) -> None:
        self.deployment = deployment

    async def __call__(self, method: str, *args: Any) -> Any:
        return await getattr(self.deployment, method)(*args)


class RemoteStage:
    """A Serve application by its handle; small arguments travel in the message, which is faster."""

    is_local = False

    def __init__(self, slot: str, handle: Any) -> None:
        self.slot, self.handle = slot, handle
        self.methods: dict[tuple[str, bool], Any] = {}

    async def __call__(self, method: str, *args: Any) -> Any:
        is_small = self.slot != MASK_SLOT and sum(map(_num_bytes, args)) <= BY_VALUE_BYTES
        if (method, is_small) not in self.methods:  # building one is slow
            self.methods[method, is_small] = self.handle.options(
                method_name=method, _by_reference=not is_small
            )
        return await self.methods[method, is_small].remote(*args)


@dataclass(frozen=True)
class ModelApplication:
    """A running application; `reads` and `parity` are those of its `DeploymentInfo`."""

    name: str
    models: tuple[ServedModel, ...]
    reads: str | None
    stage: Stage = field(compare=False)
    parity: dict[str, float] = field(default_factory=dict, compare=False)
    on_gpu: bool = field(default=False, compare=False)

    @property
    def slot(self) -> str:
        return slot_of(self.name)

    @property
    def source(self) -> str | None:
        return source_slot(self.slot)

    @property
    def layout(self) -> Layout:
        return "colocated" if self.stage.is_local else "composed"

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
        return await self.stage(method, *args)


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
