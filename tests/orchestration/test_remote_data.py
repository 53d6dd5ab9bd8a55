"""A store in a bucket reaches training as one in a folder does, shared or streamed."""

import pytest
import torch

from lus_ray.data import store
from lus_ray.data.loading import shared_memory, streaming
from lus_ray.data.transforms.view import View

pytestmark = [pytest.mark.ray]

VIEW = View(num_frames=4, height=24, width=32)


def test_frames_shared_from_a_bucket_are_those_of_its_twin(bucket, ray_cluster, phantom_store):
    twin = bucket.copied(phantom_store)
    index = store.read_index(twin)
    rows = index.to_pylist()[::5]
    here = shared_memory.attach(shared_memory.share_frames(phantom_store, index, [(24, 32)])).clips(
        rows, VIEW
    )
    there = shared_memory.attach(shared_memory.share_frames(twin, index, [(24, 32)])).clips(
        rows, VIEW
    )
    for one, two in zip(here, there, strict=True):
        assert one.shape == (8, 24, 32)
        assert (one == two).all()


def test_an_epoch_streamed_from_a_bucket_has_the_batches_of_its_twin(
    bucket, ray_cluster, phantom_store
):
    rows = store.read_index(phantom_store).to_pylist()[:14]
    settings = {"view": VIEW, "columns": ("severity",), "batch": 4, "seed": 3}
    here = streaming.StreamedFrames(str(phantom_store)).epochs(rows, **settings)
    there = streaming.StreamedFrames(bucket.copied(phantom_store)).epochs(rows, **settings)
    pairs = list(zip(here(0), there(0), strict=True))
    assert len(pairs) >= 3
    for one, two in pairs:
        assert torch.equal(one["frames"], two["frames"])
        assert torch.equal(one["severity"], two["severity"])
