"""The rival of `lus serve`: what one writes around the same models without Ray.

    python -m lus_ray.bench.serve_rival RUN PORT

FastAPI and uvicorn in one process. Clips wait in a queue from which the backbone takes up to eight
at once, as many as there are; it has one thread, as have the experts and what else an answer
needs, so that no two compete for the interpreter more than they must. Two decoder processes, the
same that `lus serve` has. Nothing is limited, gated or renewed.
"""

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import (
    LocalPipeline,
    StageOutputs,
    build_response,
    inspect_clip,
)
from lus_ray.inference.schema import CLIP_RESPONSE, ClipResponse
from lus_ray.predictor import Prediction

NUM_TOGETHER = 8
NUM_DECODERS = 2


def main(run: str, port: str) -> None:
    """Serve until a signal ends it."""
    torch.set_num_threads(1)
    answers = Answers(LocalPipeline(model_selection.select_models([Path(run)])))
    uvicorn.run(application(answers), host="127.0.0.1", port=int(port), log_level="warning",
                access_log=False)  # fmt: skip


class Answers:
    """The answer to one clip of many that come at the same time."""

    def __init__(self, local: LocalPipeline) -> None:
        assert local.backbone is not None
        self.local = local
        self.backbone = Together(local.backbone.predict_batch, NUM_TOGETHER)
        self.decoding = ThreadPoolExecutor(NUM_DECODERS)
        self.saying = ThreadPoolExecutor(1)
        self.own = threading.local()
        self.decoders: list[FileDecoder] = []

    async def __call__(self, body: bytes) -> ClipResponse:
        """Decode, ask the backbone together with others, then the experts."""
        began, loop = time.perf_counter(), asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self.decoding, self.decode, body)
        biomarkers = await self.backbone(decoded.frames)
        return await loop.run_in_executor(self.saying, self.say, decoded, biomarkers, began)

    def decode(self, body: bytes) -> DecodedVideo:
        """The frames of a file, by the decoder of this thread."""
        if not hasattr(self.own, "decoder"):
            limits = ServiceLimits()
            self.own.decoder = FileDecoder(limits.clip, max_side=limits.max_side)
            self.decoders.append(self.own.decoder)
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            return self.own.decoder.decode(Path(f"/proc/self/fd/{file.fileno()}"))

    def say(self, decoded: DecodedVideo, biomarkers: Prediction, began: float) -> ClipResponse:
        """All that follows from the biomarkers."""
        said = StageOutputs(biomarkers=biomarkers, experts=self.local.experts(biomarkers))
        seen = inspect_clip(decoded, preview=False)
        spent_ms = {"total": 1e3 * (time.perf_counter() - began)}
        return build_response(seen, said, models=self.local.models, parity={}, timings_ms=spent_ms)

    def close(self) -> None:
        """End the decoder processes."""
        for decoder in self.decoders:
            decoder.close()


class Together:
    """Asks for many at once what is asked one by one: all that wait, up to `most`."""

    def __init__(self, many: Callable[[Sequence[np.ndarray]], list[Prediction]], most: int) -> None:
        self.many, self.most = many, most
        self.thread = ThreadPoolExecutor(1)
        self.waiting: asyncio.Queue[tuple[np.ndarray, asyncio.Future[Prediction]]] = asyncio.Queue()

    async def __call__(self, frames: np.ndarray) -> Prediction:
        """What `many` says of these frames."""
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((frames, answer))
        return await answer

    async def work(self) -> None:
        """Take what waits, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < self.most and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            try:
                said = await loop.run_in_executor(self.thread, self.many, [one for one, _ in batch])
            except Exception as error:  # these clips' clients get it, the next batch may do
                for _, answer in batch:
                    answer.set_exception(error)
                continue
            for (_, answer), prediction in zip(batch, said, strict=True):
                answer.set_result(prediction)


def application(answers: Answers) -> FastAPI:
    """The routes that the bench asks."""

    @asynccontextmanager
    async def at_work(app: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(answers.backbone.work())
        yield
        working.cancel()
        answers.close()

    app = FastAPI(lifespan=at_work)

    async def clips(request: Request) -> Response:
        response = await answers(await request.body())
        return Response(CLIP_RESPONSE.dump_json(response), media_type="application/json")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready\n")

    app.add_route("/v1/clips", clips, methods=["POST"])
    app.add_route("/readyz", ready)
    return app


if __name__ == "__main__":
    main(*sys.argv[1:])
