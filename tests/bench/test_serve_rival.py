"""The rival of the service batches waiting clips, as a good engineer would write it."""

import asyncio

import numpy as np
import pytest

from lus_ray.bench.serve_rival import QueueBatcher


@pytest.mark.parametrize(
    ("clips", "max_batch", "expected_sizes", "expected"),
    [
        ([0, 1, 2, 3, 4], 3, [3, 2], [0, 2, 4, 6, 8]),
        ([5], 8, [1], [10]),
        ([-1, 1, 2], 2, [2, 1], ["below 0", "below 0", 4]),
    ],
)
def test_waiting_clips_are_batched_and_an_error_reaches_its_batch_alone(
    clips, max_batch, expected_sizes, expected
):
    sizes = []

    def predict_batch(batch):
        sizes.append(len(batch))
        if any(clip < 0 for clip in batch):
            raise ValueError("below 0")
        return [{"probability": int(clip) * 2} for clip in batch]

    async def request_all():
        batcher = QueueBatcher(predict_batch, max_batch)
        working = asyncio.create_task(batcher.work())
        requests = [batcher(np.array(clip)) for clip in clips]
        results = await asyncio.gather(*requests, return_exceptions=True)
        working.cancel()
        return results

    results = asyncio.run(request_all())
    assert sizes == expected_sizes
    assert [r["probability"] if isinstance(r, dict) else str(r) for r in results] == expected
