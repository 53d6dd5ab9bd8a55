"""Handles one clip: receive, decode, predict, respond, all within the limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from fastapi import Request
from fastapi.responses import Response

from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import ClipInspection, Stopwatch, build_response
from lus_ray.inference.schema import CLIP_RESPONSE, ClipResponse
from lus_ray.inference.served_model import ServedModel
from serve.application import Route
from serve.errors import RequestError
from serve.metrics import IngressMetrics
from serve.pipeline import Pipeline
from serve.routing import Router
from serve.upload import DecoderPool, receive_clip


class ClipHandler:
    """Handles clips by the current route: some are processed, some wait, others are rejected."""

    def __init__(
        self, limits: ServiceLimits, decoders: DecoderPool, router: Router, metrics: IngressMetrics
    ) -> None:
        self.limits, self.decoders, self.router, self.metrics = limits, decoders, router, metrics
        self.at_work = asyncio.Semaphore(limits.num_at_work)
        self.num_admitted = self.num_receiving = 0

    async def handle(self, request: Request) -> Response:
        watch = Stopwatch({})
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                response = await self._respond(request, watch)
        except TimeoutError:
            error = RequestError(504, "the clip took too long; send a shorter one")
        except RequestError as rejection:
            error = rejection
        else:
            self.metrics.count_response(200, watch.spent_ms)
            return Response(CLIP_RESPONSE.dump_json(response), media_type="application/json")
        self.metrics.count_response(error.status)
        return error.response()

    async def predict(
        self,
        decoded: DecodedVideo,
        inspection: ClipInspection,
        route: Route,
        watch: Stopwatch,
        *,
        uncertainty: bool = False,
        attention: bool = False,
    ) -> ClipResponse:
        """The response of a route to decoded frames; the route is in use meanwhile."""
        pipeline = Pipeline(route, self.limits, watch)
        with self.router.in_use(route):
            outputs = await pipeline(decoded.frames, uncertainty=uncertainty, attention=attention)
        return build_response(
            inspection, outputs,
            models=models_of(route), parity=parity_of(route), timings_ms=watch.spent_ms,
        )  # fmt: skip

    async def _respond(self, request: Request, watch: Stopwatch) -> ClipResponse:
        if not self.router.route:
            raise RequestError(
                503, "no model is ready yet; try again in a minute", self.limits.retry_after_seconds
            )
        options = {name for name, value in request.query_params.items() if value in ("1", "true")}
        with watch.time("receive"):
            file = await self._receive(request)
        async with self._admit():
            with watch.time("decode"):
                decoded, inspection = await self.decoders.decode(
                    file, allow_text="allow_text" in options, preview="preview" in options
                )
            response = await self.predict(
                decoded, inspection, self.router.route, watch,
                uncertainty="uncertainty" in options, attention="attention" in options,
            )  # fmt: skip
        response.timings_ms["total"] = round(watch.stop(), 3)
        return response

    async def _receive(self, request: Request) -> BinaryIO:
        if self._is_full or self.num_receiving >= self.limits.num_receiving:
            raise self._too_many(close=True)
        self.num_receiving += 1
        try:
            with self.metrics.receiving.track_inprogress():
                return await receive_clip(request, self.limits)
        finally:
            self.num_receiving -= 1

    @asynccontextmanager
    async def _admit(self) -> AsyncIterator[None]:
        if self._is_full:
            raise self._too_many()
        self.num_admitted += 1
        try:
            with self.metrics.waiting.track_inprogress():
                await self.at_work.acquire()
            try:
                with self.metrics.at_work.track_inprogress():
                    yield
            finally:
                self.at_work.release()
        finally:
            self.num_admitted -= 1

    @property
    def _is_full(self) -> bool:
        return self.num_admitted >= self.limits.num_at_work + self.limits.num_waiting

    def _too_many(self, *, close: bool = False) -> RequestError:
        retry_after = self.limits.retry_after_seconds
        return RequestError(
            429, "too many clips at once; try again in a few seconds", retry_after, close=close
        )


def models_of(route: Route) -> list[ServedModel]:
    return [model for application in route.values() for model in application.models]


def parity_of(route: Route) -> dict[str, float]:
    return {
        model: off for application in route.values() for model, off in application.parity.items()
    }
