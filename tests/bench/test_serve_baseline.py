"""The baseline of the service batches waiting clips, as a good engineer would write it."""

import asyncio

import numpy as np
import pytest

from lus_ray.bench.serve_baseline import QueueBatcher


def run(clips: list[int], *, max_batch: int) -> tuple[list[object], list[int]]:
    """The result for each clip, and the sizes of the batches; clips below 0 raise an error."""
    sizes = []

    def predict_batch(batch):
        sizes.append(len(batch))
        if any(clip[0] < 0 for clip in batch):
            raise ValueError("below 0")
        return [{"probability": clip * 2} for clip in batch]

    async def request_all():
        batcher = QueueBatcher(predict_batch, max_batch)
        working = asyncio.create_task(batcher.work())
        results = await asyncio.gather(
            *(batcher(np.array([clip])) for clip in clips), return_exceptions=True
        )
        working.cancel()
        return results

    return asyncio.run(request_all()), sizes


@pytest.mark.parametrize(
    ("clips", "max_batch", "expected_sizes"), [([0, 1, 2, 3, 4], 3, [3, 2]), ([5], 8, [1])]
)
def test_waiting_clips_are_batched_and_each_gets_its_own_result(clips, max_batch, expected_sizes):
    results, sizes = run(clips, max_batch=max_batch)
    assert sizes == expected_sizes
    assert [int(result["probability"][0]) for result in results] == [2 * clip for clip in clips]


def test_an_error_reaches_the_clips_of_its_batch_alone():
    results, sizes = run([-1, 1, 2], max_batch=2)
    assert sizes == [2, 1]
    assert [str(result) for result in results[:2]] == ["below 0", "below 0"]
    assert int(results[2]["probability"][0]) == 4
