"""Clips that are streamed, from a bucket or in shared memory equal those that are read directly."""

import numpy as np
import pytest
import torch

from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import batches, shared_memory, streaming
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms.view import View
from tests.ray_data import join_short_streams

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SIZE = (24, 32)
VIEW = View(num_frames=4, height=24, width=32)
FRAME_VIEW = View(num_frames=1, height=24, width=32, num_samples=0)
CLIPS = {"view": VIEW, "columns": ("severity",), "batch": 4, "balance": "severity"}
FRAMES = {"view": FRAME_VIEW, "columns": ("frame_severity",), "batch": 8, "by_frame": True,
          "num_samples": 20}  # fmt: skip


@pytest.fixture(autouse=True)
def blocks_of_ray_data(monkeypatch):
    """Ray Data takes part; the list has an entry for each block that it has read."""
    blocks = []
    join_short_streams(monkeypatch, lambda: blocks.append(1))
    return blocks


def check_batches(first, *others):
    """The batches of the first epoch, which are those of all the others."""
    batches = []
    for batch, *same in zip(first, *others, strict=True):
        for other in same:
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[name], other[name]) for name in batch)
        batches.append(batch)
    return batches


@pytest.fixture
def location(request, phantom_store):
    """The phantom store in a folder, or its copy in a bucket."""
    in_bucket = request.param
    return request.getfixturevalue("bucket").copied(phantom_store) if in_bucket else phantom_store


@pytest.mark.parametrize(
    ("settings", "num_rows", "shapes", "location"),
    [
        (CLIPS, 14, [(4, 4, *SIZE)] * 7, False),
        (CLIPS, 14, [(4, 4, *SIZE)] * 7, True),
        (FRAMES | {"balance": None}, 5, [(8, 1, *SIZE)] * 2, False),
        (FRAMES | {"balance": "frame_severity"}, 5, [(8, 1, *SIZE)] * 2, False),
        (FRAMES | {"balance": None, "window": 3}, 9, [(8, 1, *SIZE)] * 2, False),
    ],
    indirect=["location"],
)
def test_a_streamed_epoch_has_the_same_batches_as_one_from_memory(
    phantom_store, settings, num_rows, shapes, location, blocks_of_ray_data
):
    rows = store.read_index(phantom_store).to_pylist()[:num_rows]
    clips = {c["clip"]: settings["view"].resize(frames_of(c)) for c in store.read(phantom_store)}
    memory, streamed = (
        pixels.epochs(rows, seed=3, **settings)
        for pixels in (InMemory({SIZE: clips}), streaming.StreamedFrames(str(location)))
    )
    for epoch in (0, 1):
        batches = check_batches(memory(epoch), streamed(epoch))
        assert [batch["frames"].shape for batch in batches] == shapes
        assert blocks_of_ray_data
        blocks_of_ray_data.clear()


@pytest.mark.parametrize("location", [False, True], indirect=True)
def test_clips_from_the_store_are_those_in_shared_memory(phantom_store, location):
    index = store.read_index(location)
    rows = index.to_pylist()[::5]
    shared = shared_memory.attach(shared_memory.share_frames(location, index, [SIZE]))
    streamed = streaming.StreamedFrames(str(phantom_store)).clips(rows, VIEW)
    for clip, same in zip(shared.clips(rows, VIEW), streamed, strict=True):
        assert np.array_equal(clip, same)


@pytest.fixture(scope="module")
def masked_store(tmp_path_factory):
    """Four phantom patients with dense masks."""
    folder = tmp_path_factory.mktemp("masked") / "store"
    ingest("phantom", None, folder, patients=4, clips=1, frames=3, size=64)
    return folder


@pytest.mark.parametrize(("aspect", "bicubic"), [(None, False), (1.3, False), (1.3, True)])
def test_streamed_masks_are_those_from_memory_and_from_shared_memory(masked_store, aspect, bicubic):
    view = View(1, height=24, width=32, num_samples=0, aspect=aspect, bicubic=bicubic)
    index = store.read_index(masked_store)
    rows = [{**row, "num_frames": 3} for row in index.to_pylist()]
    size = batches.size_of(view)
    clips = list(store.read(masked_store))
    memory = InMemory(
        {size: {c["clip"]: view.resize(frames_of(c)) for c in clips}},
        {size: {c["clip"]: view.resize_masks(masks_of(c)) for c in clips}},
    )
    streamed = streaming.StreamedFrames(str(masked_store))
    shared = shared_memory.attach(shared_memory.share_frames(masked_store, index, [size], [size]))
    settings = {"view": view, "columns": (), "scheme": "sparse", "batch": 8, "seed": 3,
                "by_frame": True, "num_samples": 16, "copies": 6}  # fmt: skip
    epochs = check_batches(*(p.epochs(rows, **settings)(1) for p in (memory, streamed, shared)))
    for batch in epochs:
        assert batch.keys() == {"frames", "masks", "copy"}
        assert batch["masks"].shape == (8, 1, *SIZE)
        assert batch["masks"].max() == 3
    assert len(epochs) == 2
    for pixels in (streamed, shared):
        masks = zip(memory.masks(rows, view), pixels.masks(rows, view), strict=True)
        assert all(np.array_equal(ids, same) for ids, same in masks)
