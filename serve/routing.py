"""Decides which applications serve: discovers them, checks their parity once, chooses a route.

Where two generations of a slot run side by side, the new one is checked while the old one serves,
and replaces it only after passing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException

from lus_ray.errors import LusError
from serve.application import ModelApplication, Route, Stage, slot_of
from serve.directory import Directory
from serve.errors import RequestError

REPLY_SECONDS = 5.0
NO_REPLY = (RequestError, RayActorError, RayServeException, TimeoutError)
"""A replayed clip got no response, which may be due to other load."""
NUM_TRIES = 5
"""A candidate that gives no response so often is rejected."""

ParityCheck = Callable[[ModelApplication, Route], Awaitable[dict[str, float]]]


@dataclass(frozen=True)
class RoutingStatus:
    """Applications of one ingress by name: `routed` serve, `accepted` passed their parity check,
    `used` are processing a clip, `rejected` have a reason."""

    routed: frozenset[str]
    accepted: frozenset[str]
    used: frozenset[str]
    rejected: dict[str, str]
    is_ready: bool


class Router:
    """Keeps `route`, the applications that serve now, up to date with those of the directory.

    `check` replays stored clips through a route and returns the parity of the candidate's models;
    it raises where a model is rejected. `is_ready` means that every running slot has an accepted
    or a rejected application, and every routed application responds; `has_caught_up` that this
    was so once, or that no application ran.
    """

    def __init__(self, check: ParityCheck, directory: Directory) -> None:
        self.check, self.directory = check, directory
        self.num_uses: Counter[str] = Counter()
        self.num_tries: Counter[ModelApplication] = Counter()
        self.accepted: list[ModelApplication] = []
        self.rejected: dict[ModelApplication, str] = {}
        self.route: Route = {}
        self.is_ready, self.has_caught_up = False, asyncio.Event()
        self.running: list[str] = []
        self.stages: dict[str, Stage] = {}
        self.broken: dict[str, str] = {}

    async def refresh_forever(self, seconds: float) -> None:
        while True:
            try:
                await self.refresh()
                if self.is_ready or not self.running:
                    self.has_caught_up.set()
            except Exception:
                self.is_ready = False
                self.directory.invalidate()
            await asyncio.sleep(seconds)

    @contextmanager
    def in_use(self, route: Route) -> Iterator[None]:
        """Mark the applications of a route as used while a clip is processed."""
        names = [application.name for application in route.values()]
        self.num_uses.update(names)
        try:
            yield
        finally:
            self.num_uses.subtract(names)

    @property
    def status(self) -> RoutingStatus:
        return RoutingStatus(
            routed=frozenset(application.name for application in self.route.values()),
            accepted=frozenset(application.name for application in self.accepted),
            used=frozenset(name for name, number in self.num_uses.items() if number > 0),
            rejected=self.broken | {a.name: why for a, why in self.rejected.items()},
            is_ready=self.is_ready,
        )

    async def refresh(self) -> None:
        self.running = await self.directory.list_names()
        self.stages = {name: s for name, s in self.stages.items() if name in self.running}
        self.broken = {name: why for name, why in self.broken.items() if name in self.running}
        replies = await asyncio.gather(*map(self._query, self.running))
        await self.update([reply for reply in replies if reply is not None], self.running)
        if not self.is_ready:
            self.directory.invalidate()

    async def update(self, present: Sequence[ModelApplication], running: Sequence[str]) -> None:
        """Check candidates, drop what ended, and choose the route.

        `present` are those of the `running` applications that responded; the newest come last.
        """
        responding = {application.name for application in present}
        # An application that does not respond keeps its place: its next replica may be starting.
        self.accepted = [
            a for a in self.accepted
            if a in present or (a.name in running and a.name not in responding)
        ]  # fmt: skip
        self.rejected = {a: why for a, why in self.rejected.items() if a in present}
        self.route = choose_route(self.accepted)
        for candidate in sorted(present, key=lambda a: a.source is not None):
            await self._admit(candidate)
            self.accepted.sort(key=lambda a: running.index(a.name))
            self.route = choose_route(self.accepted)
        rejected = {application.fingerprint for application in self.rejected}
        for reader in present:
            if reader.reads in rejected and reader not in self.accepted:
                self.rejected.setdefault(reader, f"{reader.slot}: the model it reads is rejected")
        decided = {application.slot for application in (*self.accepted, *self.rejected)}
        decided.update(map(slot_of, self.broken))
        routed = {application.name for application in self.route.values()}
        is_decided = decided.issuperset(map(slot_of, running))
        self.is_ready = bool(routed) and routed <= responding and is_decided

    async def _query(self, name: str) -> ModelApplication | None:
        if name in self.broken:
            return None
        try:
            if name not in self.stages:
                self.stages[name] = await self.directory.open(name)
            stage = self.stages[name]
            info = await asyncio.wait_for(stage("get_info"), REPLY_SECONDS)
        except LusError as error:  # it will never load
            self.broken[name] = " ".join(str(error).split())
            return None
        except Exception:  # it is starting or ending, or its replica died
            return None
        return ModelApplication(name, info.models, info.reads, stage, info.parity, info.on_gpu)

    async def _admit(self, candidate: ModelApplication) -> None:
        """Accept a candidate, or reject it with a reason; it may also stay undecided."""
        if candidate in self.accepted or candidate in self.rejected:
            return
        parity = candidate.parity
        if not parity:
            route = {candidate.slot: candidate}
            if candidate.source is not None:
                sources = [a for a in self.accepted if a.fingerprint == candidate.reads]
                if not sources:
                    return
                route[candidate.source] = sources[-1]
            try:
                parity = await self.check(candidate, route)
                await candidate.stage("set_parity", parity)
            except Exception as error:  # one faulty candidate must not stop the others
                if not self._may_retry(candidate, error):
                    self.rejected[candidate] = _reason(candidate, error)
                return
        self.accepted = [a for a in self.accepted if a.name != candidate.name]
        self.accepted.append(replace(candidate, parity=parity))

    def _may_retry(self, candidate: ModelApplication, error: Exception) -> bool:
        """Whether load or a restarting replica may have caused the error."""
        if isinstance(error, RequestError) and error.status == 429:
            return True
        self.num_tries[candidate] += isinstance(error, NO_REPLY)
        return isinstance(error, NO_REPLY) and self.num_tries[candidate] < NUM_TRIES


def choose_route(accepted: Iterable[ModelApplication]) -> Route:
    """One application per slot, readers matching their source; `accepted` has the newest last.

    Among sources, the one with more readers is preferred, then the newer one: a new backbone takes
    over together with its experts, not before them.
    """
    applications = list(accepted)
    candidates: dict[str, list[tuple[int, int, ModelApplication]]] = {}

    def num_readers(source: ModelApplication) -> int:
        return len({a.slot for a in applications if a.reads == source.fingerprint})

    for index, application in enumerate(applications):
        if application.source is None:
            rank = (num_readers(application), index, application)
            candidates.setdefault(application.slot, []).append(rank)
    route: Route = {slot: max(ranked)[-1] for slot, ranked in candidates.items()}
    for application in applications:
        source = route.get(application.source or "")
        if source is not None and source.fingerprint == application.reads:
            route[application.slot] = application
    return route


def _reason(candidate: ModelApplication, error: Exception) -> str:
    """One line for people; the text of unknown errors may hold anything, so only their type."""
    if isinstance(error, LusError):
        return " ".join(str(error).split())
    cause = error.cause if isinstance(error, RayTaskError) else error
    return (
        f"{candidate.slot}: fails on a stored clip ({type(cause).__name__}) and is not served; "
        "run its cells again"
    )
