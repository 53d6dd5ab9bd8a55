"""A clip within its limits: slow stages, too many clips, dying stages, routes in use."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi import Request
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.served_model import ServedModel
from serve.application import ModelApplication, RemoteStage
from serve.handler import ClipHandler
from serve.metrics import IngressMetrics
from serve.routing import Router
from serve.upload import DecoderPool
from tests.serve.service import to_video

LIMITS = ServiceLimits(num_at_work=1, num_waiting=1)
CLIP = to_video(np.full((3, 48, 64), 100, np.uint8))
PREDICTION = {"probability": np.zeros(38)}


@pytest.fixture(scope="module")
def decoders():
    pool = DecoderPool(LIMITS, num=1)
    yield pool
    pool.close()


@pytest.fixture
def run(decoders):
    """Sends clips to a handler with one stage, a backbone, inside of an event loop."""

    def run(stage: Any, use: Any = lambda handler: send(handler), **limits: float) -> Any:
        async def use_handler() -> Any:
            handler = ClipHandler(
                replace(LIMITS, **limits), decoders, Router(None, None), IngressMetrics("here")
            )
            handler.router.route = route(stage)
            return await use(handler)

        return asyncio.run(use_handler())

    return run


def route(stage: Any) -> dict[str, ModelApplication]:
    model = ServedModel("r/b", "r", "b", 0, "backbone", "", Path(), "f")
    method = SimpleNamespace(remote=stage)
    handle = SimpleNamespace(options=lambda **options: method)
    return {
        "backbone": ModelApplication("backbone", (model,), None, RemoteStage("backbone", handle))
    }


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


def test_a_response_has_what_the_query_requests_and_is_counted(run):
    async def use(handler: ClipHandler) -> Any:
        return await send(handler), await send(handler, b"preview=1"), handler.metrics.render({})

    (status, plain, _), (_, with_preview, _), metrics = run(succeed, use)
    assert status == 200
    assert plain["biomarkers"]["probability"] == [0.0] * 38
    assert (plain["preview"], with_preview["preview"]["num_frames"]) == (None, 3)
    assert b'lus_answers_total{replica="here",status="200"} 2.0' in metrics


def test_a_clip_that_takes_too_long_is_given_up_and_blocks_no_other(run):
    async def use(handler: ClipHandler) -> Any:
        first = await send(handler)
        assert handler.router.status.used == frozenset()
        handler.router.route = route(succeed)
        return first, await send(handler), handler.metrics.render({})

    (status, body, _), (after, _, _), metrics = run(hang, use, request_seconds=1.5)
    assert (status, body["error"]) == (504, "the clip took too long; send a shorter one")
    assert after == 200
    assert b'lus_answers_total{replica="here",status="504"} 1.0' in metrics


@pytest.mark.slow
def test_one_clip_is_processed_one_waits_and_a_third_is_rejected(run):
    replies = run(hang, lambda h: asyncio.gather(*(send(h) for _ in range(3))), request_seconds=1.0)
    statuses = [(status, retry_after) for status, _, retry_after in replies]
    assert sorted(statuses, key=str) == [(429, "1"), (504, None), (504, None)]


def test_without_a_route_clips_are_rejected(run):
    def use(handler: ClipHandler) -> Any:
        handler.router.route = {}
        return send(handler)

    status, _, retry_after = run(succeed, use)
    assert (status, retry_after) == (503, "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "num_errors", "status"),
    [(ActorDiedError(), 1, 200), (ActorDiedError(), 4, 503),
     (BackPressureError(num_queued_requests=1, max_queued_requests=1), 1, 429)],
)  # fmt: skip
def test_a_stage_that_dies_is_called_again_and_one_that_is_full_is_not(
    run, error, num_errors, status
):
    calls = []

    async def stage(*clips: Any) -> list[Any]:
        calls.append(1)
        if len(calls) <= num_errors:
            raise error
        return await succeed(*clips)

    code, _, retry_after = run(stage)
    assert code == status
    assert retry_after == (None if status == 200 else "1")
    assert len(calls) == (1 if status == 429 else min(num_errors + 1, LIMITS.num_attempts))


def test_a_route_is_in_use_until_its_last_stage_has_responded(run):
    used: list[frozenset[str]] = []

    async def use(handler: ClipHandler) -> None:
        async def stage(*clips: Any) -> list[Any]:
            used.append(handler.router.status.used)
            return await succeed(*clips)

        handler.router.route = route(stage)
        await send(handler)
        used.append(handler.router.status.used)

    run(succeed, use)
    assert used == [frozenset({"backbone"}), frozenset()]
