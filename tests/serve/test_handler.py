"""A clip within its limits: what takes too long, what is too much, and what is in use meanwhile."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import Request
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError
from serve.decoders import Decoders

from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import Model
from serve.application import Served
from serve.handler import Answering
from serve.metrics import Tally
from serve.routing import Routing
from tests.serve.service import film

LIMITS = ServiceLimits(num_at_work=1, num_waiting=1)
CLIP = film(np.full((3, 48, 64), 100, np.uint8))
SAID = {"probability": np.zeros(38)}
Stage = Callable[..., Coroutine[Any, Any, Any]]


@dataclass
class Handle:
    """In the place of Ray's handle of an application."""

    stage: Stage

    def options(self, **chosen: Any) -> "Handle":
        return self

    async def remote(self, *args: Any) -> Any:
        return await self.stage(*args)


MADE: list[Decoders] = []


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Decoders end with the test that made them."""
    yield
    while MADE:
        MADE.pop().close()


def answering(stage: Stage, limits: ServiceLimits = LIMITS) -> Answering:
    """With one stage, a backbone."""
    MADE.append(Decoders(limits, num=1))
    routing = Routing(None)  # type: ignore[arg-type]  # nothing is gated here
    model = Model("r/b", "r", "b", 0, "backbone", "", Path(), "f")
    routing.route = {"backbone": Served("backbone", (model,), None, Handle(stage))}
    return Answering(limits, MADE[-1], routing, Tally("here"))


async def ask(answers: Answering, query: bytes = b"") -> tuple[int, dict[str, Any]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": CLIP, "more_body": False}

    headers = [(b"content-type", b"application/octet-stream")]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": query}
    response = await answers.clips(Request(scope, receive))
    return response.status_code, json.loads(response.body) | {
        "again": response.headers.get("retry-after")
    }


async def says(*clips: Any) -> list[Any]:
    return [SAID for _ in clips]


async def hangs(*clips: Any) -> Any:
    await asyncio.sleep(60)


def test_a_clip_is_answered_with_what_was_asked_for():
    async def asked() -> Any:
        answers = answering(says)
        return await ask(answers), await ask(answers, b"preview=1"), answers.tally.text({})

    (status, plain), (_, shown), counts = asyncio.run(asked())
    assert status == 200
    assert plain["biomarkers"]["probability"] == [0.0] * 38
    assert (plain["preview"], shown["preview"]["num_frames"]) == (None, 3)
    assert b'lus_answers_total{replica="here",status="200"} 2.0' in counts


def test_a_clip_that_takes_too_long_is_given_up_and_its_place_is_free_again():
    async def asked() -> Any:
        answers = answering(hangs, replace(LIMITS, request_seconds=1.0))
        first = await ask(answers)
        assert answers.routing.standing.used == frozenset()
        answers.routing.route = answering(says).routing.route
        return first, await ask(answers), answers.tally.text({})

    (status, said), (after, _), counts = asyncio.run(asked())
    assert (status, said["error"]) == (504, "the clip took too long; send a shorter one")
    assert after == 200
    assert b'lus_answers_total{replica="here",status="504"} 1.0' in counts


def test_one_is_at_work_one_waits_and_a_third_is_to_come_again():
    async def asked() -> Any:
        answers = answering(hangs, replace(LIMITS, request_seconds=2.0))
        return await asyncio.gather(*(ask(answers) for _ in range(3)))

    statuses = [(status, said["again"]) for status, said in asyncio.run(asked())]
    assert sorted(statuses, key=str) == [(429, "1"), (504, None), (504, None)]


def test_without_a_route_nothing_is_taken_in():
    async def asked() -> Any:
        answers = answering(says)
        answers.routing.route = {}
        return await ask(answers)

    status, said = asyncio.run(asked())
    assert (status, said["again"]) == (503, "1")


@pytest.mark.parametrize(
    ("error", "num_times", "status"),
    [(ActorDiedError(), 1, 200), (ActorDiedError(), 4, 503),
     (BackPressureError(num_queued_requests=1, max_queued_requests=1), 1, 429)],
)  # fmt: skip
def test_a_stage_that_dies_is_asked_again_and_one_that_is_full_is_not(error, num_times, status):
    times = []

    async def stage(*clips: Any) -> list[Any]:
        times.append(1)
        if len(times) <= num_times:
            raise error
        return await says(*clips)

    async def asked() -> Any:
        return await ask(answering(stage))

    found, said = asyncio.run(asked())
    assert found == status
    assert said["again"] == (None if status == 200 else "1")
    assert len(times) == (1 if status == 429 else min(num_times + 1, LIMITS.num_attempts))


def test_the_route_is_in_use_until_its_last_stage_has_answered():
    async def asked() -> Any:
        seen: list[frozenset[str]] = []

        async def stage(*clips: Any) -> list[Any]:
            seen.append(answers.routing.standing.used)
            return await says(*clips)

        answers = answering(stage)
        await ask(answers)
        return seen, answers.routing.standing.used

    assert asyncio.run(asked()) == ([frozenset({"backbone"})], frozenset())
