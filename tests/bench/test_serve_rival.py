"""The rival gathers what waits, as a good engineer would have it."""

import asyncio

import numpy as np
import pytest

from lus_ray.bench.serve_rival import Together


def run(clips: list[int], *, most: int) -> tuple[list[object], list[int]]:
    """What each clip is told, and how many were asked for at a time; clips below 0 are refused."""
    sizes = []

    def many(batch):
        sizes.append(len(batch))
        if any(clip[0] < 0 for clip in batch):
            raise ValueError("below 0")
        return [{"probability": clip * 2} for clip in batch]

    async def together():
        asks = Together(many, most)
        working = asyncio.create_task(asks.work())
        answers = await asyncio.gather(
            *(asks(np.array([clip])) for clip in clips), return_exceptions=True
        )
        working.cancel()
        return answers

    return asyncio.run(together()), sizes


def test_what_waits_is_asked_for_together_and_each_gets_its_own():
    answers, sizes = run([0, 1, 2, 3, 4], most=3)
    assert sizes == [3, 2]
    assert [int(answer["probability"][0]) for answer in answers] == [0, 2, 4, 6, 8]


def test_an_error_reaches_those_who_asked_and_nobody_else():
    answers, sizes = run([-1, 1, 2], most=2)
    assert sizes == [2, 1]
    assert [str(answer) for answer in answers[:2]] == ["below 0", "below 0"]
    assert int(answers[2]["probability"][0]) == 4


def test_one_that_asks_alone_does_not_wait_for_others():
    answers, sizes = run([5], most=8)
    assert sizes == [1]
    assert answers[0]["probability"] == pytest.approx(10)
