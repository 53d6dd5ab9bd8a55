"""One clip through the service: let in, decoded, asked about, and answered, within the limits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import Model
from lus_ray.inference.response import assemble, see
from serve import http
from serve.application import Route
from serve.decoders import Decoders
from serve.errors import Refused
from serve.metrics import Tally
from serve.pipeline import Composition
from serve.routing import Routing
from serve.upload import receive


class Answering:
    """Answers clips by the route of the moment; a few at a time, a few wait, others go away."""

    def __init__(
        self, limits: ServiceLimits, decoders: Decoders, routing: Routing, tally: Tally
    ) -> None:
        self.limits, self.decoders, self.routing, self.tally = limits, decoders, routing, tally
        self.at_work = asyncio.Semaphore(limits.num_at_work)
        self.num_inside = self.num_receiving = 0

    async def clips(self, request: Request) -> Response:
        """The answer to one request, counted."""
        spent_ms: dict[str, float] = {}
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                answer = await self._answer(request, spent_ms)
        except TimeoutError:
            self.tally.answered(504)
            return http.problem(Refused(504, "the clip took too long; send a shorter one"))
        except Refused as refused:
            self.tally.answered(refused.status)
            return http.problem(refused)
        self.tally.answered(200, spent_ms)
        return JSONResponse(answer)

    async def compose(
        self,
        decoded: DecodedVideo,
        route: Route,
        spent_ms: dict[str, float],
        *,
        preview: bool = False,
        uncertainty: bool = False,
    ) -> dict[str, Any]:
        """The answer of a route to decoded frames; the route is in use for as long as it takes."""
        composition = Composition(route, self.limits)
        with self.routing.in_use(route):
            said, seen = await asyncio.gather(
                composition(decoded.frames, uncertainty=uncertainty),
                asyncio.to_thread(see, decoded, preview=preview),
            )
        spent_ms |= composition.milliseconds
        return assemble(
            seen, said, models=models_of(route), parity=parity_of(route), timings_ms=spent_ms
        )

    async def _answer(self, request: Request, spent_ms: dict[str, float]) -> dict[str, Any]:
        began = time.perf_counter()
        if not self.routing.route:
            raise Refused(503, "no model is ready yet", self.limits.retry_after_seconds)
        asked = {name for name, value in request.query_params.items() if value == "1"}
        file = await self._receive(request)
        spent_ms["receive"] = _since(began)
        async with self._place():
            at = time.perf_counter()
            decoded = await self.decoders.decode(file, allow_text="allow_text" in asked)
            spent_ms["decode"] = _since(at)
            answer = await self.compose(
                decoded, self.routing.route, spent_ms,
                preview="preview" in asked, uncertainty="uncertainty" in asked,
            )  # fmt: skip
        answer["timings_ms"]["total"] = spent_ms["total"] = round(_since(began), 3)
        return answer

    async def _receive(self, request: Request) -> BinaryIO:
        """The body of a request; one that comes slowly takes no place at work.

        Raises:
            Refused: too many are inside or on their way in already (429), or the body is refused.
        """
        if self._is_full or self.num_receiving >= self.limits.num_receiving:
            raise self._too_many(closes=True)
        self.num_receiving += 1
        try:
            with self.tally.receiving.track_inprogress():
                return await receive(request, self.limits)
        finally:
            self.num_receiving -= 1

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places at work; a few requests wait for one, the others are sent away.

        Raises:
            Refused: too many are inside already (429).
        """
        if self._is_full:
            raise self._too_many()
        self.num_inside += 1
        try:
            with self.tally.waiting.track_inprogress():
                await self.at_work.acquire()
            try:
                with self.tally.at_work.track_inprogress():
                    yield
            finally:
                self.at_work.release()
        finally:
            self.num_inside -= 1

    @property
    def _is_full(self) -> bool:
        return self.num_inside >= self.limits.num_at_work + self.limits.num_waiting

    def _too_many(self, *, closes: bool = False) -> Refused:
        again = self.limits.retry_after_seconds
        return Refused(429, "too many clips at once", again, closes=closes)


def models_of(route: Route) -> list[Model]:
    """All models that a route holds."""
    return [model for one in route.values() for model in one.models]


def parity_of(route: Route) -> dict[str, float]:
    """How far each model of a route was from its stored predictions, by id."""
    return {name: off for one in route.values() for name, off in one.parity.items()}


def _since(began: float) -> float:
    return 1e3 * (time.perf_counter() - began)
