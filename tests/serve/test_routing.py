"""Which applications answer: newcomers are gated one by one, and take over together."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import Model
from serve.application import Served
from serve.errors import Refused
from serve.routing import NUM_TRIES, Routing, Standing

KINDS = {"backbone": "backbone", "scorer": "frames", "segmenter": "segmenter"}


@dataclass
class Handle:
    """In the place of Ray's handle of an application: keeps what it is told."""

    told: list[dict[str, float]] = field(default_factory=list)

    @property
    def admit(self) -> "Handle":
        return self

    async def remote(self, parity: dict[str, float]) -> None:
        self.told.append(parity)


def served(app: str, *, reads: str | None = None, parity: dict[str, float] | None = None) -> Served:
    """An application whose model has the name of the application as its fingerprint."""
    kind: Any = KINDS.get(app.partition(".")[0], "expert")
    model = Model(app, "run", app, 0, kind, "severity", Path(), app, reads)
    return Served(app, (model,), reads, Handle(), parity or {})


def standing(*rounds: tuple[Served, ...], faults: dict[str, Any] | None = None) -> list[Standing]:
    """Where applications stand after each look, with what comes of the clips that are replayed."""

    async def gate(newcomer: Served, route: dict[str, Served]) -> dict[str, float]:
        assert newcomer.reads in (None, *(one.fingerprint for one in route.values()))
        fault = (faults or {}).get(newcomer.app)
        if fault is not None:
            raise fault
        return {newcomer.app: 1e-7}

    async def look() -> list[Standing]:
        routing, found = Routing(gate), []
        for present in rounds:
            await routing.settle(present, [one.app for one in present])
            found.append(routing.standing)
        return found

    return asyncio.run(look())


OLD = (
    served("backbone.1"), served("experts-severity.1", reads="backbone.1"),
    served("experts-disease.1", reads="backbone.1"),
)  # fmt: skip
NEW = (
    served("backbone.2"), served("experts-severity.2", reads="backbone.2"),
    served("experts-disease.2", reads="backbone.2"),
)  # fmt: skip


def names(present: tuple[Served, ...]) -> set[str]:
    return {one.app for one in present}


def test_a_new_backbone_with_fewer_readers_is_admitted_and_waits_until_it_has_as_many():
    first, fewer, equal = standing(OLD, OLD + NEW[:2], OLD + NEW)
    assert first.routed == fewer.routed == names(OLD)
    assert fewer.admitted == names(OLD + NEW[:2])
    assert equal.routed == names(NEW)
    assert fewer.is_ready
    assert equal.is_ready


def test_whoever_looks_for_the_first_time_chooses_the_newer_of_two_generations():
    async def gate(newcomer: Served, route: dict[str, Served]) -> dict[str, float]:
        return {newcomer.app: 0.0}

    async def look(present: tuple[Served, ...], running: tuple[Served, ...]) -> frozenset[str]:
        routing = Routing(gate)
        await routing.settle(present, [one.app for one in running])
        return routing.standing.routed

    for present in (OLD + NEW, NEW + OLD):
        assert asyncio.run(look(present, OLD + NEW)) == names(NEW)
        assert asyncio.run(look(present, NEW + OLD)) == names(OLD)


def test_experts_of_a_new_label_wait_with_their_backbone_and_the_service_stays_ready():
    late = served("experts-sf_ratio.2", reads="backbone.2")
    (now,) = standing((*OLD, NEW[0], late))
    assert now.routed == names(OLD)
    assert late.app in now.admitted
    assert now.is_ready


def fault(kind: str) -> Exception:
    """What reaches a replay from a stage that raises, loses its process, or is refused."""
    raised = RayTaskError("predict", "secret path", ValueError("secret path"))
    return {
        "raises": raised.as_instanceof_cause(),
        "breaks": KeyError("secret path"),
        "differs": ServeError("signs/tree: answers differ"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("raises", "scorer: fails on a stored clip (ValueError) and is not served; "),
        ("breaks", "scorer: fails on a stored clip (KeyError) and is not served; "),
        ("differs", "signs/tree: answers differ"),
    ],
)
def test_one_model_that_fails_is_refused_with_its_reason_and_the_others_are_served(kind, reason):
    present = (served("scorer"), *OLD, served("segmenter"))
    (now,) = standing(present, faults={"scorer": fault(kind)})
    assert now.routed == names(present) - {"scorer"}
    assert now.is_ready
    (said,) = now.refused.values()
    assert said.startswith(reason)
    assert "secret" not in said


@pytest.mark.parametrize("lost", [ActorDiedError(), Refused(503, "starts anew"), TimeoutError()])
def test_a_model_that_gives_no_answer_is_asked_again_but_not_for_ever(lost):
    looks = standing(*[(served("scorer"), *OLD)] * NUM_TRIES, faults={"scorer": lost})
    assert [dict(look.refused) for look in looks[:-1]] == [{}] * (NUM_TRIES - 1)
    assert all(look.routed == names(OLD) for look in looks)
    assert not looks[0].is_ready
    assert list(looks[-1].refused) == ["scorer"]
    assert looks[-1].is_ready


def test_a_service_with_too_much_to_do_is_asked_again_for_as_long_as_it_takes():
    busy = {"scorer": Refused(429, "too many")}
    looks = standing(*[(served("scorer"), *OLD)] * (3 * NUM_TRIES), faults=busy)
    assert looks[-1].refused == {}


def test_what_reads_a_refused_model_is_refused_too_and_holds_nothing_up():
    (now,) = standing((*OLD, *NEW), faults={"backbone.2": fault("raises")})
    assert set(now.refused) == names(NEW)
    assert now.refused["experts-severity.2"] == "experts-severity: what it reads is refused"
    assert now.routed == names(OLD)
    assert now.is_ready


def test_a_stage_that_was_gated_before_is_not_gated_again():
    known = served("scorer", parity={"scores/frames": 1e-8})
    (now,) = standing((known,), faults={"scorer": ServeError("gated again")})
    assert now.routed == {"scorer"}


def test_what_a_clip_is_on_its_way_through_is_in_use_until_it_left():
    async def look() -> tuple[frozenset[str], ...]:
        async def gate(newcomer: Served, route: dict[str, Served]) -> dict[str, float]:
            return {newcomer.app: 0.0}

        routing = Routing(gate)
        await routing.settle(OLD, [one.app for one in OLD])
        with routing.in_use(routing.route), routing.in_use(routing.route):
            await routing.settle(NEW, [one.app for one in NEW])
            during = routing.standing
        return during.used, during.routed, routing.standing.used

    assert asyncio.run(look()) == (names(OLD), names(NEW), frozenset())
