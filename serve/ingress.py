"""The ingress: the HTTP service, and the parity check that every model passes before it serves."""

import asyncio
import contextlib
from pathlib import Path

import numpy as np
from fastapi import Request
from fastapi.responses import PlainTextResponse, Response
from jaxtyping import UInt8
from ray import serve

from lus_ray.data.decoding.file_types import EXTENSIONS
from lus_ray.inference import parity
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import Stopwatch, describe_models, inspect_clip, wrap_frames
from lus_ray.inference.schema import SERVED_MODELS, ClipResponse, ModelInfo, ServedModels
from lus_ray.inference.summaries import write_banner
from lus_ray.storage.paths import parse
from serve import http
from serve.application import ModelApplication, Route
from serve.directory import PlanDirectory, ServeDirectory
from serve.errors import RequestError
from serve.handler import ClipHandler, models_of, parity_of
from serve.http_server import HttpServer
from serve.metrics import IngressMetrics
from serve.routing import Router, RoutingStatus
from serve.upload import DecoderPool

REFRESH_SECONDS = 2.0
CATCH_UP_SECONDS = 15.0
"""An ingress that starts while models run listens with its first route, or this much later."""


@serve.deployment
class Ingress:
    """HTTP at `host` and `port` in front of the running applications.

    `data` is a store for the parity check, where the runs' own clips are elsewhere. `folder` holds
    a plan (serve/plan.py), whose colocated applications run in this process.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, limits: ServiceLimits, host: str, port: int, token: str | None, data: str | None,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.data = parse(data) if data else None
        self.counters = IngressMetrics(serve.get_replica_context().replica_id.unique_id)
        directory = ServeDirectory() if folder is None else PlanDirectory(folder)
        self.router = Router(self._measure_parity, directory)
        self.handler = ClipHandler(limits, DecoderPool(limits), self.router, self.counters)
        app = http.build_http_app(
            clips=self.handler.handle, models=self.models, ready=self.ready, metrics=self.metrics,
            count_failure=lambda: self.counters.count_response(500), token=token,
        )  # fmt: skip
        self.server = HttpServer(app, limits)
        self.refreshing = asyncio.create_task(self.router.refresh_forever(REFRESH_SECONDS))
        # A restarted ingress without a route must not take connections from one that has it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.router.has_caught_up.wait(), CATCH_UP_SECONDS)
        self.serving = self.server.start(host, port)

    def __del__(self) -> None:
        self.server.close()

    async def models(self, request: Request) -> Response:
        served = ServedModels(
            models=self._describe_models(),
            layout={slot: application.layout for slot, application in self.router.route.items()},
            banner=write_banner(models_of(self.router.route)),
            refused=sorted(set(self.router.status.rejected.values())),
            limits=self.limits.to_dict(),
            formats=list(EXTENSIONS),
        )
        return Response(SERVED_MODELS.dump_json(served), media_type="application/json")

    async def ready(self, request: Request) -> Response:
        """200 when every application has passed its parity check or been rejected."""
        if self.router.is_ready:
            return PlainTextResponse("ready\n")
        return RequestError(
            503, "some parts are not ready yet; try again in a minute", 1
        ).response()

    async def metrics(self, request: Request) -> Response:
        parities = {
            (model.id, model.fingerprint): model.parity
            for model in self._describe_models()
            if model.parity is not None
        }
        text = self.counters.render(parities)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def status(self) -> RoutingStatus:
        return self.router.status

    async def _measure_parity(self, candidate: ModelApplication, route: Route) -> dict[str, float]:
        loop = asyncio.get_running_loop()

        async def predict_async(frames: UInt8[np.ndarray, "N H W"]) -> ClipResponse:
            clip = wrap_frames(frames)
            inspection = await asyncio.to_thread(inspect_clip, clip, preview=False)
            async with asyncio.timeout(self.limits.request_seconds):
                return await self.handler.predict(clip, inspection, route, Stopwatch({}))

        def predict(frames: UInt8[np.ndarray, "N H W"]) -> ClipResponse:
            return asyncio.run_coroutine_threadsafe(predict_async(frames), loop).result()

        differences = await asyncio.to_thread(
            parity.measure_parity, list(candidate.models), predict, data=self.data
        )
        on_gpu = any(application.on_gpu for application in route.values()) or any(
            model.on_gpu for model in models_of(route)
        )
        parity.check_parity(differences, parity.GPU_TOLERANCE if on_gpu else parity.TOLERANCE)
        return differences

    def _describe_models(self) -> list[ModelInfo]:
        return describe_models(models_of(self.router.route), parity_of(self.router.route))
