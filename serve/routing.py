"""Which stages answer: found among the running applications, gated once, and chosen together.

An application of the service is named after its slot (`backbone`, `experts-severity`, ...), with a
tag after a dot where two generations of a slot stand side by side: the new one is gated while the
old one answers, and takes its place only when it passed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException

from lus_ray.errors import LusError
from lus_ray.service.models import Model
from serve.refused import Refused
from serve.together import Together

SOURCES = {"experts": "backbone", "aggregators": "scorer"}
"""What a slot reads, by its name before the first dash; the others read frames."""
FRAME_SLOTS = ("backbone", "scorer", "segmenter")
ANSWER_SECONDS = 5.0
KNOWN_SECONDS = 15.0
"""For so long the names of what runs are taken as known: asking Serve for them costs a tenth of a
second of a processor."""
MOST_TOGETHER = 8
"""So many clips go to an application with one call."""
BY_VALUE_BYTES = 2**20
"""Of all arguments of a call; Serve's own messages hold four times as much at most."""
LOST = (Refused, RayActorError, RayServeException, TimeoutError)
"""No answer to a replayed clip, which may lie with what else is at work."""
NUM_TRIES = 5
"""Looks at which a newcomer may give no answer, before that is taken for its own doing."""


@dataclass(frozen=True)
class Served:
    """One application that holds models; `handle` asks it."""

    app: str
    models: tuple[Model, ...]
    reads: str | None
    handle: Any = field(compare=False)
    parity: dict[str, float] = field(default_factory=dict, compare=False)
    on_gpu: bool = field(default=False, compare=False)

    @property
    def slot(self) -> str:
        """The part that it plays, such as "experts-severity"."""
        return _slot(self.app)

    @property
    def source(self) -> str | None:
        """The slot whose answers it reads."""
        return SOURCES.get(self.slot.partition("-")[0])

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
        is_small = sum(map(_num_bytes, args)) <= BY_VALUE_BYTES
        return await (self._by_value if is_small else self._by_reference).remote(*args)

    @cached_property
    def _by_value(self) -> Any:
        return self.handle.options(method_name="predict", _by_reference=False)

    @cached_property
    def _by_reference(self) -> Any:
        return self.handle.options(method_name="predict")

    @property
    def fingerprint(self) -> str:
        """That of its first model, which for a stage that others read is its only one."""
        return self.models[0].fingerprint


Route = dict[str, Served]
"""The application that answers in each slot."""
Gate = Callable[[Served, Route], Awaitable[dict[str, float]]]


@dataclass(frozen=True)
class Standing:
    """Where the applications stand with one ingress, by name.

    `routed` answer; `admitted` passed their gate, and wait if they are not routed; `used` are
    those that a clip is on its way through; `refused` has the reasons. `is_ready` as in `Routing`.
    """

    routed: frozenset[str]
    admitted: frozenset[str]
    used: frozenset[str]
    refused: dict[str, str]
    is_ready: bool


class Routing:
    """Looks for applications again and again; `route` is what answers now.

    `gate` replays stored clips through a route and returns the parity of the newcomer's models;
    it raises where a model is refused. `refused` has the reasons by application.
    `is_ready` says that every running part has answered, and passed its gate or been refused.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.using: Counter[str] = Counter()
        self.num_tries: Counter[Served] = Counter()
        self.admitted: list[Served] = []
        self.refused: dict[Served, str] = {}
        self.route: Route = {}
        self.is_ready = False
        self.running: set[str] = set()
        self.handles: dict[str, Any] = {}
        self.known_until = 0.0

    async def watch(self, seconds: float) -> None:
        """Look every few seconds, for ever; trouble of one look is over with the next."""
        while True:
            try:
                await self.look()
            except Exception:
                self.is_ready = False
            await asyncio.sleep(seconds)

    @contextmanager
    def in_use(self, route: Route) -> Iterator[None]:
        """For as long as a clip is on its way through a route."""
        apps = [one.app for one in route.values()]
        self.using.update(apps)
        try:
            yield
        finally:
            self.using.subtract(apps)

    @property
    def standing(self) -> Standing:
        """Where every application stands."""
        return Standing(
            routed=frozenset(one.app for one in self.route.values()),
            admitted=frozenset(one.app for one in self.admitted),
            used=frozenset(app for app, number in self.using.items() if number > 0),
            refused={one.app: why for one, why in self.refused.items()},
            is_ready=self.is_ready,
        )

    async def look(self) -> None:
        """Ask what runs, and settle its route; names are asked for anew while it changes."""
        if time.monotonic() > self.known_until:
            self.known_until = time.monotonic() + KNOWN_SECONDS
            applications = (await asyncio.to_thread(serve.status)).applications
            self.running = {
                name for name, one in applications.items() if _is_here(name, one.status)
            }
            self.handles = {app: one for app, one in self.handles.items() if app in self.running}
        found = await asyncio.gather(*map(self._ask, sorted(self.running)))
        await self.settle([one for one in found if one is not None], self.running)
        if not self.is_ready:
            self.forget()

    def forget(self) -> None:
        """Ask for the names of what runs with the next look: something was started or ended."""
        self.known_until = 0.0

    async def settle(self, present: Sequence[Served], running: Set[str]) -> None:
        """Take in what came, drop what went, and choose the route anew.

        `present` of the applications that are `running` have answered.
        """
        answering = {one.app for one in present}
        # A stage that does not answer just now keeps its place: its next replica may have begun.
        self.admitted = [
            one for one in self.admitted
            if one in present or (one.app in running and one.app not in answering)
        ]  # fmt: skip
        self.refused = {one: why for one, why in self.refused.items() if one in present}
        self.route = choose(self.admitted)
        for newcomer in sorted(present, key=lambda one: one.source is not None):
            await self._take_in(newcomer)
            self.route = choose(self.admitted)
        gone = {one.fingerprint for one in self.refused}
        for one in present:
            if one.reads in gone and one not in self.admitted:
                self.refused.setdefault(one, f"{one.slot}: what it reads is refused")
        settled = {one.slot for one in (*self.admitted, *self.refused)}
        self.is_ready = (
            bool(self.route)
            and all(one.app in answering for one in self.route.values())
            and all(_slot(app) in settled for app in running)
        )

    async def _ask(self, app: str) -> Served | None:
        """What an application says of itself; None where it does not answer yet."""
        try:
            if app not in self.handles:
                self.handles[app] = await asyncio.to_thread(serve.get_app_handle, app)
            handle = self.handles[app]
            told = await asyncio.wait_for(handle.about.remote(), ANSWER_SECONDS)
        except Exception:  # it starts, or ends, or its replica has just died
            return None
        return Served(app, told.models, told.reads, handle, told.parity, told.on_gpu)

    async def _take_in(self, newcomer: Served) -> None:
        if newcomer in self.admitted or newcomer in self.refused:
            return
        parity = newcomer.parity
        if not parity:
            route = {newcomer.slot: newcomer}
            if newcomer.source is not None:
                sources = [one for one in self.admitted if one.fingerprint == newcomer.reads]
                if not sources:
                    return
                route[newcomer.source] = sources[-1]
            try:
                parity = await self.gate(newcomer, route)
                await newcomer.handle.admit.remote(parity)
            except Exception as error:  # the others go on whatever is wrong with this one
                if not self._may_try_again(newcomer, error):
                    self.refused[newcomer] = _reason(newcomer, error)
                return
        self.admitted = [one for one in self.admitted if one.app != newcomer.app]
        self.admitted.append(replace(newcomer, parity=parity))

    def _may_try_again(self, newcomer: Served, error: Exception) -> bool:
        """Whether an error may be another's: too much to do, or a part that starts anew."""
        if isinstance(error, Refused) and error.status == 429:
            return True
        self.num_tries[newcomer] += isinstance(error, LOST)
        return isinstance(error, LOST) and self.num_tries[newcomer] < NUM_TRIES


def choose(admitted: Iterable[Served]) -> Route:
    """One application per slot, such that what reads fits what is read.

    Of two that others read, the one with more readers comes first, then the newer one: a new
    backbone takes over together with its experts, not before them.
    """
    served = list(admitted)
    rivals: dict[str, list[tuple[int, int, Served]]] = {}

    def num_readers(source: Served) -> int:
        return len({one.slot for one in served if one.reads == source.fingerprint})

    for place, one in enumerate(served):
        if one.source is None:
            rivals.setdefault(one.slot, []).append((num_readers(one), place, one))
    route: Route = {slot: max(ranked)[-1] for slot, ranked in rivals.items()}
    for one in served:
        if one.source in route and route[one.source].fingerprint == one.reads:
            route[one.slot] = one
    return route


def _reason(newcomer: Served, error: Exception) -> str:
    """One line for people: ours as it is; of others the kind, as their text may hold anything."""
    if isinstance(error, LusError):
        return " ".join(str(error).split())
    cause = error.cause if isinstance(error, RayTaskError) else error
    return (
        f"{newcomer.slot}: fails on a stored clip ({type(cause).__name__}) and is not served; "
        "run its cells again"
    )


def _num_bytes(arg: Any) -> int:
    """Of what a stage is asked with: an array, arrays by name, a reference to a large one."""
    if isinstance(arg, ray.ObjectRef):
        return BY_VALUE_BYTES + 1
    if isinstance(arg, Mapping):
        return sum(map(_num_bytes, arg.values()))
    return getattr(arg, "nbytes", 0)


def _slot(app: str) -> str:
    return app.partition(".")[0]


def _is_here(app: str, status: str) -> bool:
    is_stage = _slot(app) in FRAME_SLOTS or _slot(app).partition("-")[0] in SOURCES
    return is_stage and status not in {"DELETING", "DEPLOY_FAILED", "NOT_STARTED"}
