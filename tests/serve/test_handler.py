"""A clip within its limits: slow stages, too many clips, dying stages, routes in use."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import Request
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import ServedModel
from serve.application import ModelApplication
from serve.handler import ClipHandler
from serve.metrics import IngressMetrics
from serve.routing import Router
from serve.upload import DecoderPool
from tests.serve.service import to_video

LIMITS = ServiceLimits(num_at_work=1, num_waiting=1)
CLIP = to_video(np.full((3, 48, 64), 100, np.uint8))
PREDICTION = {"probability": np.zeros(38)}
Stage = Callable[..., Coroutine[Any, Any, Any]]


@dataclass
class FakeHandle:
    stage: Stage

    def options(self, **options: Any) -> "FakeHandle":
        return self

    async def remote(self, *args: Any) -> Any:
        return await self.stage(*args)


@pytest.fixture(scope="module")
def decoders():
    pool = DecoderPool(LIMITS, num=1)
    yield pool
    pool.close()


@pytest.fixture
def make_handler(decoders):
    def make(stage: Stage, limits: ServiceLimits = LIMITS) -> ClipHandler:
        router = Router(None)  # type: ignore[arg-type]  # no parity check here
        model = ServedModel("r/b", "r", "b", 0, "backbone", "", Path(), "f")
        application = ModelApplication("backbone", (model,), None, FakeHandle(stage))
        router.route = {"backbone": application}
        return ClipHandler(limits, decoders, router, IngressMetrics("here"))

    return make


async def send(handler: ClipHandler, query: bytes = b"") -> tuple[int, dict[str, Any], str | None]:
    """Status, JSON and Retry-After of the response to a clip."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": CLIP, "more_body": False}

    headers = [(b"content-type", b"application/octet-stream")]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": query}
    response = await handler.handle(Request(scope, receive))
    retry_after = response.headers.get("retry-after")
    return response.status_code, json.loads(bytes(response.body)), retry_after


async def succeed(*clips: Any) -> list[Any]:
    return [PREDICTION for _ in clips]


async def hang(*clips: Any) -> Any:
    await asyncio.sleep(60)


def test_a_response_has_what_the_query_requests_and_is_counted(make_handler):
    async def run() -> Any:
        handler = make_handler(succeed)
        return await send(handler), await send(handler, b"preview=1"), handler.metrics.render({})

    (status, plain, _), (_, with_preview, _), metrics = asyncio.run(run())
    assert status == 200
    assert plain["biomarkers"]["probability"] == [0.0] * 38
    assert (plain["preview"], with_preview["preview"]["num_frames"]) == (None, 3)
    assert b'lus_answers_total{replica="here",status="200"} 2.0' in metrics


def test_a_clip_that_takes_too_long_is_given_up_and_blocks_no_other(make_handler):
    async def run() -> Any:
        handler = make_handler(hang, replace(LIMITS, request_seconds=0.5))
        first = await send(handler)
        assert handler.router.status.used == frozenset()
        handler.router.route = make_handler(succeed).router.route
        return first, await send(handler), handler.metrics.render({})

    (status, body, _), (after, _, _), metrics = asyncio.run(run())
    assert (status, body["error"]) == (504, "the clip took too long; send a shorter one")
    assert after == 200
    assert b'lus_answers_total{replica="here",status="504"} 1.0' in metrics


def test_one_clip_is_processed_one_waits_and_a_third_is_rejected(make_handler):
    async def run() -> Any:
        handler = make_handler(hang, replace(LIMITS, request_seconds=1.0))
        return await asyncio.gather(*(send(handler) for _ in range(3)))

    replies = [(status, retry_after) for status, _, retry_after in asyncio.run(run())]
    assert sorted(replies, key=str) == [(429, "1"), (504, None), (504, None)]


def test_without_a_route_clips_are_rejected(make_handler):
    async def run() -> Any:
        handler = make_handler(succeed)
        handler.router.route = {}
        return await send(handler)

    status, _, retry_after = asyncio.run(run())
    assert (status, retry_after) == (503, "1")


@pytest.mark.parametrize(
    ("error", "num_errors", "status"),
    [(ActorDiedError(), 1, 200), (ActorDiedError(), 4, 503),
     (BackPressureError(num_queued_requests=1, max_queued_requests=1), 1, 429)],
)  # fmt: skip
def test_a_stage_that_dies_is_called_again_and_one_that_is_full_is_not(
    make_handler, error, num_errors, status
):
    calls = []

    async def stage(*clips: Any) -> list[Any]:
        calls.append(1)
        if len(calls) <= num_errors:
            raise error
        return await succeed(*clips)

    async def run() -> Any:
        return await send(make_handler(stage))

    code, _, retry_after = asyncio.run(run())
    assert code == status
    assert retry_after == (None if status == 200 else "1")
    assert len(calls) == (1 if status == 429 else min(num_errors + 1, LIMITS.num_attempts))


def test_a_route_is_in_use_until_its_last_stage_has_responded(make_handler):
    async def run() -> Any:
        used: list[frozenset[str]] = []

        async def stage(*clips: Any) -> list[Any]:
            used.append(handler.router.status.used)
            return await succeed(*clips)

        handler = make_handler(stage)
        await send(handler)
        return used, handler.router.status.used

    assert asyncio.run(run()) == ([frozenset({"backbone"})], frozenset())
