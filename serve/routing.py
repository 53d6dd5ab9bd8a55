"""Which stages answer: found among the running applications, gated once, and chosen together.

Where two generations of a slot stand side by side, the new one is gated while the old one answers,
and takes its place only when it passed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException

from lus_ray.errors import LusError
from serve.application import FRAME_SLOTS, SOURCES, Route, Served, slot_of
from serve.errors import Refused

ANSWER_SECONDS = 5.0
KNOWN_SECONDS = 15.0
"""For so long the names of what runs are taken as known: asking Serve for them costs a tenth of a
second of a processor."""
LOST = (Refused, RayActorError, RayServeException, TimeoutError)
"""No answer to a replayed clip, which may lie with what else is at work."""
NUM_TRIES = 5
"""Looks at which a newcomer may give no answer, before that is taken for its own doing."""

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
        self.running: list[str] = []
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
            here = {app: one for app, one in applications.items() if _is_here(app, one.status)}
            self.running = sorted(here, key=lambda app: here[app].last_deployed_time_s)
            self.handles = {app: one for app, one in self.handles.items() if app in self.running}
        found = await asyncio.gather(*map(self._ask, self.running))
        await self.settle([one for one in found if one is not None], self.running)
        if not self.is_ready:
            self.forget()

    def forget(self) -> None:
        """Ask for the names of what runs with the next look: something was started or ended."""
        self.known_until = 0.0

    async def settle(self, present: Sequence[Served], running: Sequence[str]) -> None:
        """Take in what came, drop what went, and choose the route anew.

        `present` of the applications that are `running` have answered; the newest runs last.
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
            self.admitted.sort(key=lambda one: running.index(one.app))
            self.route = choose(self.admitted)
        gone = {one.fingerprint for one in self.refused}
        for one in present:
            if one.reads in gone and one not in self.admitted:
                self.refused.setdefault(one, f"{one.slot}: what it reads is refused")
        settled = {one.slot for one in (*self.admitted, *self.refused)}
        self.is_ready = (
            bool(self.route)
            and all(one.app in answering for one in self.route.values())
            and all(slot_of(app) in settled for app in running)
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
    """One application per slot, such that what reads fits what is read; newer ones come last.

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


def _is_here(app: str, status: str) -> bool:
    is_stage = slot_of(app) in FRAME_SLOTS or slot_of(app).partition("-")[0] in SOURCES
    return is_stage and status not in {"DELETING", "DEPLOY_FAILED", "NOT_STARTED"}
