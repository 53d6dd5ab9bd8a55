"""Waiting items are processed in groups, at once, and each gets its own result."""

import asyncio
import threading
from typing import Any

import pytest

from serve.batching import Batcher, JobThread


def process_all(items: list[int], *, limit: int) -> tuple[list[Any], list[Any]]:
    """The double of each item, and the starts and ends of groups; 7 fails, 0 is slow."""
    events: list[Any] = []

    async def process(group: list[int]) -> list[int]:
        events.append(group)
        await asyncio.sleep(0.05 if group == [0] else 0.01)
        if 7 in group:
            raise ValueError("7")
        events.append(f"end of {group}")
        return [2 * item for item in group]

    async def gather() -> list[Any]:
        return await asyncio.gather(*map(Batcher(process, limit=limit), items),
                                    return_exceptions=True)  # fmt: skip

    return asyncio.run(gather()), events


@pytest.mark.parametrize(
    ("items", "groups"),
    [
        pytest.param([5], [[5]], id="a single item does not wait"),
        pytest.param([0, 1, 2, 3, 4, 5], [[0], [1, 2, 3, 4, 5]], id="waiting items share a call"),
        pytest.param(
            [0, 1, 7, 3], [[0], [1, 7, 3], [1], [7], [3]], id="a failing item fails alone"
        ),
        pytest.param([7], [[7]], id="a single failing item is not repeated"),
    ],
)
def test_items_that_arrive_during_a_call_form_the_next_group(items, groups):
    results, events = process_all(items, limit=8)
    for item, result in zip(items, results, strict=True):
        assert str(result) == "7" if item == 7 else result == 2 * item
    assert [event for event in events if isinstance(event, list)] == groups


def test_a_full_group_does_not_wait_for_the_call_under_way():
    results, events = process_all([0, 1, 2, 3], limit=2)
    assert results == [0, 2, 4, 6]
    assert events == [[0], [1, 2], "end of [1, 2]", "end of [0]", [3], "end of [3]"]


def test_a_cancelled_item_is_not_processed():
    sent: list[list[int]] = []

    async def process(group: list[int]) -> list[int]:
        sent.append(group)
        await asyncio.sleep(0.01)
        return group

    async def gather() -> list[Any]:
        batcher = Batcher(process, limit=8)
        first, cancelled, last = (asyncio.create_task(batcher(item)) for item in range(3))
        await asyncio.sleep(0)
        cancelled.cancel()
        return await asyncio.gather(first, cancelled, last, return_exceptions=True)

    first, cancelled, last = asyncio.run(gather())
    assert (first, last, sent) == (0, 2, [[0], [2]])
    assert isinstance(cancelled, asyncio.CancelledError)


@pytest.mark.parametrize("error", [KeyError("a"), asyncio.CancelledError()])
def test_it_continues_after_any_error(error):
    async def process(group: list[int]) -> list[int]:
        if group == [0]:
            raise error
        return group

    async def gather() -> Any:
        batcher = Batcher(process, limit=1)
        faulty, valid = asyncio.create_task(batcher(0)), asyncio.create_task(batcher(1))
        result = await asyncio.wait_for(valid, 5)
        faulty.cancel()
        return result

    assert asyncio.run(gather()) == 1


def test_jobs_of_one_turn_run_in_one_thread_and_a_failing_one_fails_alone():
    async def gather() -> list[Any]:
        run = JobThread()
        jobs = (run(divmod, 7, number) for number in (2, 0, 7))
        first = await asyncio.gather(*jobs, return_exceptions=True)
        return [*first, await run(threading.current_thread)]

    whole, failed, one, thread = asyncio.run(gather())
    assert (whole, one) == ((3, 1), (1, 0))
    assert isinstance(failed, ZeroDivisionError)
    assert thread is not threading.current_thread()
