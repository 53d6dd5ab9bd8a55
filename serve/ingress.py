"""The ingress: takes a clip in, has it decoded, asks the stages, and puts the answer together."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from jaxtyping import UInt8
from ray import serve

from lus_ray.ingest.decode import Decoded
from lus_ray.places import place
from lus_ray.service import parity
from lus_ray.service.answer import assemble, see, served, undecoded
from lus_ray.service.limits import ServiceLimits
from lus_ray.service.models import Model
from serve import http
from serve.body import receive
from serve.composition import Composition
from serve.decoders import Decoders
from serve.listener import Listener
from serve.refused import Refused
from serve.routing import Route, Routing, Served, Standing
from serve.tally import Tally

LOOK_SECONDS = 2.0


@serve.deployment
class Ingress:
    """The service as HTTP at `host` and `port`, around whatever stages run.

    `data` is a store for the parity gate, where the runs' own clips are elsewhere.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, limits: ServiceLimits, host: str, port: int, token: str | None, data: str | None
    ) -> None:
        self.limits = limits
        self.data = place(data) if data else None
        self.decoders = Decoders(limits)
        self.tally = Tally(serve.get_replica_context().replica_id.unique_id)
        self.routing = Routing(self._replay)
        self.at_work = asyncio.Semaphore(limits.num_at_work)
        self.num_inside = self.num_receiving = 0
        app = http.application(
            clips=self.clips, models=self.models, ready=self.ready, metrics=self.metrics,
            failed=lambda: self.tally.answered(500), token=token,
        )  # fmt: skip
        self.listener = Listener(app, limits)
        self.listening = self.listener.listen(host, port)
        self.watching = asyncio.create_task(self.routing.watch(LOOK_SECONDS))

    def __del__(self) -> None:
        self.listener.close()

    async def clips(self, request: Request) -> Response:
        """Answer one clip."""
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

    async def models(self, request: Request) -> Response:
        """What is served, what was refused, and the limits."""
        return JSONResponse(
            {
                "models": self._served(self.routing.route),
                "refused": sorted(set(self.routing.refused.values())),
                "limits": self.limits.contents(),
            }
        )

    async def ready(self, request: Request) -> Response:
        """200 when every stage has answered, and passed its gate or been refused."""
        if self.routing.is_ready:
            return PlainTextResponse("ready\n")
        return http.problem(Refused(503, "not every part has answered yet", 1))

    async def metrics(self, request: Request) -> Response:
        """Counts and times for Prometheus."""
        parities = {
            (model["id"], model["fingerprint"]): model["parity"]
            for model in self._served(self.routing.route)
        }
        text = self.tally.text(parities)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def look_anew(self) -> None:
        """Take note that something was started or ended."""
        self.routing.forget()

    async def standing(self) -> Standing:
        """Where the applications stand with this replica."""
        return self.routing.standing

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
            # The route of this moment: what it names is there for as long as it is in use.
            answer = await self._compose(
                decoded, self.routing.route, spent_ms,
                preview="preview" in asked, uncertainty="uncertainty" in asked,
            )  # fmt: skip
        answer["timings_ms"]["total"] = spent_ms["total"] = round(_since(began), 3)
        return answer

    async def _compose(
        self,
        decoded: Decoded,
        route: Route,
        spent_ms: dict[str, float],
        *,
        preview: bool = False,
        uncertainty: bool = False,
    ) -> dict[str, Any]:
        """The answer of a route to decoded frames."""
        composition = Composition(route, self.limits)
        with self.routing.in_use(route):
            said, seen = await asyncio.gather(
                composition(decoded.frames, uncertainty=uncertainty),
                asyncio.to_thread(see, decoded, preview=preview),
            )
        spent_ms |= composition.milliseconds
        return assemble(
            seen, said, models=_models(route), parity=_parity(route), timings_ms=spent_ms
        )

    async def _replay(self, newcomer: Served, route: Route) -> dict[str, float]:
        """The parity of a newcomer's models, replayed through a route with it.

        Raises:
            ServeError: a model does not answer as it did when it was trained.
        """
        loop = asyncio.get_running_loop()

        def answer(frames: UInt8[np.ndarray, "N H W"]) -> dict[str, Any]:
            composed = self._compose(undecoded(frames), route, {})
            return asyncio.run_coroutine_threadsafe(composed, loop).result()

        found = await asyncio.to_thread(
            parity.replay, list(newcomer.models), answer, data=self.data
        )
        on_gpu = any(one.on_gpu or any(model.on_gpu for model in one.models)
                     for one in route.values())  # fmt: skip
        parity.check(found, parity.GPU_TOLERANCE if on_gpu else parity.TOLERANCE)
        return found

    def _served(self, route: Route) -> list[dict[str, Any]]:
        return served(_models(route), _parity(route))


def _models(route: Route) -> list[Model]:
    return [model for one in route.values() for model in one.models]


def _parity(route: Route) -> dict[str, float]:
    return {name: off for one in route.values() for name, off in one.parity.items()}


def _since(began: float) -> float:
    return 1e3 * (time.perf_counter() - began)
