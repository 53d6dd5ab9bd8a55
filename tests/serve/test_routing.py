"""Which applications serve: candidates are checked one by one, and take over together."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from lus_ray.errors import ServeError
from lus_ray.inference.served_model import ServedModel
from serve.application import ModelApplication
from serve.directory import ServeDirectory
from serve.errors import RequestError
from serve.routing import NUM_TRIES, Router, RoutingStatus

STAGE = AsyncMock()
KINDS = {
    "backbone": "backbone",
    "classifiers": "classifier",
    "scorer": "frames",
    "segmenter": "segmenter",
}


def application(name: str, reads: str | None = None, **parity: float) -> ModelApplication:
    """An application whose model has the application's name as fingerprint."""
    kind: Any = KINDS.get(name.partition(".")[0], "expert")
    model = ServedModel(name, "run", name, 0, kind, "severity", Path(), name, reads)
    return ModelApplication(name, (model,), reads, STAGE, parity)


def generation(number: int) -> tuple[ModelApplication, ...]:
    backbone = f"backbone.{number}"
    labels = ("severity", "disease")
    experts = (application(f"experts-{label}.{number}", backbone) for label in labels)
    return (application(backbone), *experts)


OLD, NEW = generation(1), generation(2)


def names(applications: tuple[ModelApplication, ...]) -> set[str]:
    return {application.name for application in applications}


def statuses(
    *rounds: tuple[ModelApplication, ...], errors: dict[str, Exception] | None = None,
    running: tuple[ModelApplication, ...] = (),
) -> list[RoutingStatus]:  # fmt: skip
    """The status after each round of present applications; `errors` of parity checks by name."""

    async def check(candidate: ModelApplication, route: Any) -> dict[str, float]:
        assert candidate.reads in (None, *(source.fingerprint for source in route.values()))
        if error := (errors or {}).get(candidate.name):
            raise error
        return {candidate.name: 1e-7}

    async def run() -> list[RoutingStatus]:
        router, results = Router(check, None), []
        for present in rounds:
            await router.update(present, [application.name for application in running or present])
            results.append(router.status)
        return results

    return asyncio.run(run())


def test_a_new_backbone_with_fewer_readers_waits_until_it_has_as_many():
    first, fewer, equal = statuses(OLD, OLD + NEW[:2], OLD + NEW)
    assert first.routed == fewer.routed == names(OLD)
    assert fewer.accepted == names(OLD + NEW[:2])
    assert equal.routed == names(NEW)
    assert fewer.is_ready
    assert equal.is_ready


@pytest.mark.parametrize("present", [OLD + NEW, NEW + OLD])
@pytest.mark.parametrize(("running", "newer"), [(OLD + NEW, NEW), (NEW + OLD, OLD)])
def test_a_new_ingress_chooses_the_newer_of_two_generations(present, running, newer):
    (status,) = statuses(present, running=running)
    assert status.routed == names(newer)


@pytest.mark.parametrize(
    ("rounds", "num_rounds"),
    [([([], False)], 1), ([None, (["scorer"], False), (["scorer"], True), ([], False)], 3)],
)
def test_an_ingress_has_caught_up_once_every_running_application_is_decided(rounds, num_rounds):
    async def run() -> int:
        router, left = Router(AsyncMock(), ServeDirectory()), iter(rounds)

        async def refresh() -> None:
            router.running, router.is_ready = next(left)  # None fails like an unreachable Serve

        router.refresh = refresh  # type: ignore[method-assign]
        refreshing = asyncio.create_task(router.refresh_forever(0.01))
        await asyncio.wait_for(router.has_caught_up.wait(), 10)
        refreshing.cancel()
        return len(rounds) - len(list(left))

    assert asyncio.run(run()) == num_rounds


def test_experts_of_a_new_label_wait_with_their_backbone_and_the_service_stays_ready():
    late = application("experts-sf_ratio.2", "backbone.2")
    (status,) = statuses((*OLD, NEW[0], late))
    assert status.routed == names(OLD)
    assert late.name in status.accepted
    assert status.is_ready


RAISED = RayTaskError("predict", "secret path", ValueError("secret path")).as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RAISED, "scorer: fails on a stored clip (ValueError) and is not served; "),
        (KeyError("secret path"), "scorer: fails on a stored clip (KeyError) and is not served; "),
        (ServeError("labels/tree: predictions differ"), "labels/tree: predictions differ"),
    ],
)
def test_a_failing_model_is_rejected_with_its_reason_and_the_others_serve(error, reason):
    present = (application("scorer"), *OLD, application("segmenter"))
    (status,) = statuses(present, errors={"scorer": error})
    assert status.routed == names(present) - {"scorer"}
    assert status.is_ready
    (text,) = status.rejected.values()
    assert text.startswith(reason)
    assert "secret" not in text


@pytest.mark.parametrize("error", [ActorDiedError(), RequestError(503, "restarts"), TimeoutError()])
def test_a_model_without_a_response_is_tried_several_times(error):
    *tries, last = statuses(*[(application("scorer"), *OLD)] * NUM_TRIES, errors={"scorer": error})
    assert [status.rejected for status in tries] == [{}] * (NUM_TRIES - 1)
    assert all(status.routed == names(OLD) for status in (*tries, last))
    assert not tries[0].is_ready
    assert list(last.rejected) == ["scorer"]
    assert last.is_ready


def test_a_busy_service_is_tried_for_as_long_as_it_takes():
    busy = {"scorer": RequestError(429, "too many")}
    rounds = [(application("scorer"), *OLD)] * (3 * NUM_TRIES)
    assert statuses(*rounds, errors=busy)[-1].rejected == {}


def test_readers_of_a_rejected_model_are_rejected_too():
    (status,) = statuses((*OLD, *NEW), errors={"backbone.2": RAISED})
    assert set(status.rejected) == names(NEW)
    reason = "experts-severity: the model it reads is rejected"
    assert status.rejected["experts-severity.2"] == reason
    assert status.routed == names(OLD)
    assert status.is_ready


def test_an_application_with_known_parity_is_not_checked_again():
    known = application("scorer", **{"scores/frames": 1e-8})
    (status,) = statuses((known,), errors={"scorer": ServeError("checked again")})
    assert status.routed == {"scorer"}


def test_applications_are_in_use_until_a_clip_has_left_them():
    async def run() -> tuple[frozenset[str], ...]:
        async def check(candidate: ModelApplication, route: Any) -> dict[str, float]:
            return {candidate.name: 0.0}

        router = Router(check, None)
        await router.update(OLD, [application.name for application in OLD])
        with router.in_use(router.route), router.in_use(router.route):
            await router.update(NEW, [application.name for application in NEW])
            during = router.status
        return during.used, during.routed, router.status.used

    assert asyncio.run(run()) == (names(OLD), names(NEW), frozenset())
