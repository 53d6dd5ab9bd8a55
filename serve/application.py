"""One application that holds models, and how it is asked.

An application of the service is named after its slot (`backbone`, `experts-severity`, ...), with a
tag after a dot where two generations of a slot may stand side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ray

from lus_ray.inference.model_selection import Model
from serve.batching import Together

SOURCES = {"experts": "backbone", "aggregators": "scorer"}
"""What a slot reads, by its name before the first dash; the others read frames."""
FRAME_SLOTS = ("backbone", "scorer", "segmenter")
MOST_TOGETHER = 8
"""So many clips go to an application with one call."""
BY_VALUE_BYTES = 2**20
"""Of all arguments of a call; Serve's own messages hold four times as much at most."""
MASKS = "segmenter"
"""The slot whose answers may be larger than that."""


@dataclass(frozen=True)
class Served:
    """One application that holds models, and how far each was from its stored predictions, by id.

    `handle` asks it. `reads` is the fingerprint of the model whose answers it reads, None where it
    reads frames; `on_gpu` says that a GPU computes its answers.
    """

    app: str
    models: tuple[Model, ...]
    reads: str | None
    handle: Any = field(compare=False)
    parity: dict[str, float] = field(default_factory=dict, compare=False)
    on_gpu: bool = field(default=False, compare=False)

    @property
    def slot(self) -> str:
        """The part that it plays, such as "experts-severity"."""
        return slot_of(self.app)

    @property
    def source(self) -> str | None:
        """The slot whose answers it reads."""
        return SOURCES.get(self.slot.partition("-")[0])

    @property
    def fingerprint(self) -> str:
        """That of its first model, which for a stage that others read is its only one."""
        return self.models[0].fingerprint

    @cached_property
    def together(self) -> Together[Any, Any]:
        """Asks it for several clips at once: those that wait while others are on their way."""

        async def ask(clips: list[Any]) -> list[Any]:
            return list(await self.ask(*clips))

        return Together(ask, most=MOST_TOGETHER)

    async def ask(self, *args: Any) -> Any:
        """What it says, with its arguments in the message or, where they are large, beside it.

        A message that holds everything takes half the time of one to an actor of Ray.
        """
        is_small = self.slot != MASKS and sum(map(_num_bytes, args)) <= BY_VALUE_BYTES
        return await (self._by_value if is_small else self._by_reference).remote(*args)

    @cached_property
    def _by_value(self) -> Any:
        return self.handle.options(method_name="predict", _by_reference=False)

    @cached_property
    def _by_reference(self) -> Any:
        return self.handle.options(method_name="predict")


Route = dict[str, Served]
"""The application that answers in each slot."""


def slot_of(app: str) -> str:
    """The slot that an application is named after."""
    return app.partition(".")[0]


def _num_bytes(arg: Any) -> int:
    """Of what a stage is asked with: an array, arrays by name, a reference to a large one."""
    if isinstance(arg, ray.ObjectRef):
        return BY_VALUE_BYTES + 1
    if isinstance(arg, Mapping):
        return sum(map(_num_bytes, arg.values()))
    return getattr(arg, "nbytes", 0)
