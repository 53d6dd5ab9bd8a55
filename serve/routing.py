"""Which stages answer: found among the running applications, gated once, and chosen together.

An application of the service is named after its slot (`backbone`, `experts-severity`, ...), with a
tag after a dot where two generations of a slot stand side by side: the new one is gated while the
old one answers, and takes its place only when it passed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ray import serve

from lus_ray.errors import LusError
from lus_ray.service.models import Model

SOURCES = {"experts": "backbone", "aggregators": "scorer"}
"""What a slot reads, by its name before the first dash; the others read frames."""
FRAME_SLOTS = ("backbone", "scorer", "segmenter")
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Served:
    """One application that holds models; `handle` asks it."""

    app: str
    models: tuple[Model, ...]
    reads: str | None
    handle: Any = field(compare=False)
    parity: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def slot(self) -> str:
        """The part that it plays, such as "experts-severity"."""
        return _slot(self.app)

    @property
    def source(self) -> str | None:
        """The slot whose answers it reads."""
        return SOURCES.get(self.slot.partition("-")[0])

    @property
    def fingerprint(self) -> str:
        """That of its first model, which for a stage that others read is its only one."""
        return self.models[0].fingerprint


Route = dict[str, Served]
"""The application that answers in each slot."""
Gate = Callable[[Served, Route], Awaitable[dict[str, float]]]


class Routing:
    """Looks for applications again and again; `route` is what answers now.

    `gate` replays stored clips through a route and returns the parity of the newcomer's models;
    it raises an error of ours where a model is refused. `refused` has the reasons by application.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.admitted: list[Served] = []
        self.refused: dict[Served, str] = {}
        self.route: Route = {}
        self.is_ready = False

    async def watch(self, seconds: float) -> None:
        """Look every few seconds, for ever; trouble of one look is over with the next."""
        while True:
            try:
                await self.look()
            except Exception:
                self.is_ready = False
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Take in what came, drop what went, and choose the route anew."""
        applications = (await asyncio.to_thread(serve.status)).applications
        running = {name for name, one in applications.items() if _is_here(name, one.status)}
        found = await asyncio.gather(*map(self._ask, sorted(running)))
        present = [one for one in found if one is not None]
        answering = {one.app for one in present}
        # A stage that does not answer just now keeps its place: its next replica may have begun.
        self.admitted = [
            one for one in self.admitted
            if one in present or (one.app in running and one.app not in answering)
        ]  # fmt: skip
        self.refused = {one: why for one, why in self.refused.items() if one in present}
        for newcomer in sorted(present, key=lambda one: one.source is not None):
            await self._take_in(newcomer)
        self.route = choose(self.admitted)
        settled = {*self.route, *(one.slot for one in self.refused)}
        self.is_ready = (
            bool(self.route)
            and all(one.app in answering for one in self.route.values())
            and all(_slot(app) in settled for app in running)
        )

    async def _ask(self, app: str) -> Served | None:
        """What an application says of itself; None where it does not answer yet."""
        try:
            handle = await asyncio.to_thread(serve.get_app_handle, app)
            models, reads, parity = await asyncio.wait_for(handle.about.remote(), ANSWER_SECONDS)
        except Exception:  # it starts, or ends, or its replica has just died
            return None
        return Served(app, models, reads, handle, parity or {})

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
            except LusError as error:
                self.refused[newcomer] = " ".join(str(error).split())
                return
            await newcomer.handle.admit.remote(parity)
        self.admitted = [one for one in self.admitted if one.app != newcomer.app]
        self.admitted.append(
            Served(newcomer.app, newcomer.models, newcomer.reads, newcomer.handle, parity)
        )


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


def _slot(app: str) -> str:
    return app.partition(".")[0]


def _is_here(app: str, status: str) -> bool:
    is_stage = _slot(app) in FRAME_SLOTS or _slot(app).partition("-")[0] in SOURCES
    return is_stage and status not in {"DELETING", "DEPLOY_FAILED", "NOT_STARTED"}
