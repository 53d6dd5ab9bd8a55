"""What waits is asked for together, at once and with an answer each."""

import asyncio
from typing import Any

import pytest

from serve.batching import Together


def asked(clips: list[int], *, most: int) -> tuple[list[Any], list[list[int]]]:
    """The double of each clip, and the groups that were asked for; 7 is refused."""
    groups: list[list[int]] = []

    async def ask(group: list[int]) -> list[int]:
        groups.append(group)
        await asyncio.sleep(0.01)
        if 7 in group:
            raise ValueError("7")
        return [2 * clip for clip in group]

    async def together() -> list[Any]:
        asks = Together(ask, most=most)
        return await asyncio.gather(*map(asks, clips), return_exceptions=True)

    return asyncio.run(together()), groups


def test_one_that_comes_alone_does_not_wait_for_others():
    assert asked([5], most=8) == ([10], [[5]])


def test_what_comes_while_one_is_on_its_way_goes_together_when_that_is_back():
    answers, groups = asked([0, 1, 2, 3, 4, 5], most=8)
    assert answers == [0, 2, 4, 6, 8, 10]
    assert groups == [[0], [1, 2, 3, 4, 5]]


def test_a_full_group_does_not_wait_for_what_is_on_its_way():
    order: list[str] = []

    async def ask(group: list[int]) -> list[int]:
        order.append(f"asked {group}")
        await asyncio.sleep(0.1 if group == [0] else 0.01)
        order.append(f"answered {group}")
        return group

    async def together() -> Any:
        asks = Together(ask, most=2)
        return await asyncio.gather(*map(asks, range(4)))

    assert asyncio.run(together()) == [0, 1, 2, 3]
    assert order == [
        "asked [0]", "asked [1, 2]", "answered [1, 2]", "answered [0]", "asked [3]", "answered [3]",
    ]  # fmt: skip


def test_one_that_fails_fails_alone():
    answers, groups = asked([0, 1, 7, 3], most=8)
    assert [answers[n] for n in (0, 1, 3)] == [0, 2, 6]
    assert str(answers[2]) == "7"
    assert groups == [[0], [1, 7, 3], [1], [7], [3]]


def test_one_that_fails_alone_is_not_asked_for_twice():
    answers, groups = asked([7], most=8)
    assert groups == [[7]]
    assert isinstance(answers[0], ValueError)


def test_a_clip_whose_client_went_away_is_not_asked_for():
    groups: list[list[int]] = []

    async def ask(group: list[int]) -> list[int]:
        groups.append(group)
        await asyncio.sleep(0.01)
        return group

    async def together() -> list[Any]:
        asks = Together(ask, most=8)
        first, left, last = (asyncio.create_task(asks(clip)) for clip in range(3))
        await asyncio.sleep(0)
        left.cancel()
        return await asyncio.gather(first, left, last, return_exceptions=True)

    first, left, last = asyncio.run(together())
    assert (first, last, groups) == (0, 2, [[0], [2]])
    assert isinstance(left, asyncio.CancelledError)


@pytest.mark.parametrize("error", [KeyError("a"), asyncio.CancelledError()])
def test_it_goes_on_after_any_error(error):
    async def ask(group: list[int]) -> list[int]:
        if group == [0]:
            raise error
        return group

    async def together() -> Any:
        asks = Together(ask, most=1)
        broken, sound = asyncio.create_task(asks(0)), asyncio.create_task(asks(1))
        found = await asyncio.wait_for(sound, 5)
        broken.cancel()
        return found

    assert asyncio.run(together()) == 1
