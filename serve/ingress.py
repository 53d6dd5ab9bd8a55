"""The ingress: the service as HTTP, and the gate that every model passes before it is served."""

import asyncio
from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from jaxtyping import UInt8
from ray import serve

from lus_ray.inference import parity
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import served, undecoded
from lus_ray.storage.paths import parse
from serve import http
from serve.application import Route, Served
from serve.decoders import Decoders
from serve.errors import Refused
from serve.handler import Answering, models_of, parity_of
from serve.http_server import Listener
from serve.metrics import Tally
from serve.routing import Routing, Standing

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
        self.data = parse(data) if data else None
        self.tally = Tally(serve.get_replica_context().replica_id.unique_id)
        self.routing = Routing(self._replay)
        self.answering = Answering(limits, Decoders(limits), self.routing, self.tally)
        app = http.application(
            clips=self.answering.clips, models=self.models, ready=self.ready, metrics=self.metrics,
            failed=lambda: self.tally.answered(500), token=token,
        )  # fmt: skip
        self.listener = Listener(app, limits)
        self.listening = self.listener.listen(host, port)
        self.watching = asyncio.create_task(self.routing.watch(LOOK_SECONDS))

    def __del__(self) -> None:
        self.listener.close()

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

    async def _replay(self, newcomer: Served, route: Route) -> dict[str, float]:
        """The parity of a newcomer's models, replayed through a route with it.

        Raises:
            ServeError: a model does not answer as it did when it was trained.
            TimeoutError: one does not answer in time.
        """
        loop = asyncio.get_running_loop()

        async def composed(frames: UInt8[np.ndarray, "N H W"]) -> dict[str, Any]:
            async with asyncio.timeout(self.limits.request_seconds):
                return await self.answering.compose(undecoded(frames), route, {})

        def answer(frames: UInt8[np.ndarray, "N H W"]) -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(composed(frames), loop).result()

        found = await asyncio.to_thread(
            parity.replay, list(newcomer.models), answer, data=self.data
        )
        on_gpu = any(one.on_gpu or any(model.on_gpu for model in one.models)
                     for one in route.values())  # fmt: skip
        parity.check(found, parity.GPU_TOLERANCE if on_gpu else parity.TOLERANCE)
        return found

    def _served(self, route: Route) -> list[dict[str, Any]]:
        return served(models_of(route), parity_of(route))
