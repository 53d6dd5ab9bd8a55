"""The rival of `lus serve`: what one writes around the same models without Ray.

    python -m lus_ray.bench.serve_rival RUN PORT

FastAPI and uvicorn in one process. The backbone takes up to eight clips at once from a queue; it
has one thread, as have the experts and the rest of a response, so that they compete little for the
interpreter. Two decoder processes, the same that `lus serve` has. Nothing is limited or renewed.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import LocalPipeline, StageOutputs, build_response, inspect_clip
from lus_ray.inference.schema import CLIP_RESPONSE, ClipResponse
from lus_ray.predictor import Prediction

MAX_BATCH = 8
NUM_DECODERS = 2


def main(run: str, port: str) -> None:
    """Serve until a signal ends it."""
    torch.set_num_threads(1)
    handler = RivalHandler(LocalPipeline(model_selection.select_models([Path(run)])))
    uvicorn.run(build_app(handler), host="127.0.0.1", port=int(port), log_level="warning",
                access_log=False)  # fmt: skip


class RivalHandler:
    def __init__(self, local: LocalPipeline) -> None:
        assert local.backbone is not None
        self.local = local
        self.backbone = QueueBatcher(local.backbone.predict_batch, MAX_BATCH)
        self.decode_threads = ThreadPoolExecutor(NUM_DECODERS)
        self.expert_thread = ThreadPoolExecutor(1)
        limits = ServiceLimits()
        self.decoders = SimpleQueue[FileDecoder]()
        for _ in range(NUM_DECODERS):
            self.decoders.put(FileDecoder(limits.clip, max_side=limits.max_side))

    async def __call__(self, body: bytes) -> ClipResponse:
        start_s, loop = time.perf_counter(), asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self.decode_threads, self.decode, body)
        biomarkers = await self.backbone(decoded.frames)
        return await loop.run_in_executor(
            self.expert_thread, self.respond, decoded, biomarkers, start_s
        )

    def decode(self, body: bytes) -> DecodedVideo:
        """The frames of a file, by a free decoder, whose process ends with this one."""
        decoder = self.decoders.get()
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            decoded = decoder.decode(Path(f"/proc/self/fd/{file.fileno()}"))
        self.decoders.put(decoder)
        return decoded

    def respond(
        self, decoded: DecodedVideo, biomarkers: Prediction, start_s: float
    ) -> ClipResponse:
        outputs = StageOutputs(biomarkers=biomarkers, experts=self.local.experts(biomarkers))
        inspected = inspect_clip(decoded, preview=False)
        timings_ms = {"total": 1e3 * (time.perf_counter() - start_s)}
        return build_response(
            inspected, outputs, models=self.local.models, parity={}, timings_ms=timings_ms
        )


class QueueBatcher:
    """Runs `predict_batch` on all waiting clips together, at most `max_batch` at a time."""

    def __init__(
        self, predict_batch: Callable[[Sequence[np.ndarray]], list[Prediction]], max_batch: int
    ) -> None:
        self.predict_batch, self.max_batch = predict_batch, max_batch
        self.thread = ThreadPoolExecutor(1)
        self.waiting: asyncio.Queue[tuple[np.ndarray, asyncio.Future[Prediction]]] = asyncio.Queue()

    async def __call__(self, frames: np.ndarray) -> Prediction:
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((frames, future))
        return await future

    async def work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < self.max_batch and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            clips = [frames for frames, _ in batch]
            try:
                predictions = await loop.run_in_executor(self.thread, self.predict_batch, clips)
            except Exception as error:  # only these clips fail; the next batch may succeed
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), prediction in zip(batch, predictions, strict=True):
                future.set_result(prediction)


def build_app(handler: RivalHandler) -> FastAPI:
    @asynccontextmanager
    async def at_work(app: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(handler.backbone.work())
        yield
        working.cancel()

    app = FastAPI(lifespan=at_work)

    async def clips(request: Request) -> Response:
        response = await handler(await request.body())
        return Response(CLIP_RESPONSE.dump_json(response), media_type="application/json")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready\n")

    app.add_route("/v1/clips", clips, methods=["POST"])
    app.add_route("/readyz", ready)
    return app


if __name__ == "__main__":
    main(*sys.argv[1:])
