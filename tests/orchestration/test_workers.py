"""Clips in memory, in shared memory, on disk, streamed and in a bucket; several workers."""

import numpy as np
import pytest
import torch

from experiments.biomarkers import EXPERIMENT
from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import batches, memmap, shared_memory, streaming
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms.view import View
from lus_ray.orchestration import campaign, run_options
from lus_ray.predictor import Predictor
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest

pytestmark = [pytest.mark.ray]

SIZE = (24, 32)
VIEW = View(num_frames=4, height=24, width=32)

in_folder_and_bucket = pytest.mark.parametrize("in_bucket", [False, True])


@pytest.fixture
def location(request, phantom_store, in_bucket):
    """The phantom store in a folder, or its copy in a bucket."""
    return request.getfixturevalue("bucket").copied(phantom_store) if in_bucket else phantom_store


def in_memory(folder, view):
    return InMemory({SIZE: {c["clip"]: view.resize(frames_of(c)) for c in store.read(folder)}})


def check_batches(first, *others):
    """The batches of the first epoch, which are those of all the others."""
    batches = []
    for batch, *same in zip(first, *others, strict=True):
        for other in same:
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[name], other[name]) for name in batch)
        batches.append(batch)
    return batches


@in_folder_and_bucket
def test_a_streamed_epoch_has_the_same_batches_as_one_from_memory(
    ray_cluster, phantom_store, location
):
    rows = store.read_index(phantom_store).to_pylist()[:14]
    settings = {"view": VIEW, "columns": ("severity",), "batch": 4, "seed": 3}
    memory, streamed = (
        pixels.epochs(rows, balance="severity", **settings)
        for pixels in (in_memory(phantom_store, VIEW), streaming.StreamedFrames(str(location)))
    )
    for epoch in (0, 1):
        assert len(check_batches(memory(epoch), streamed(epoch))) >= 4


@pytest.mark.parametrize("balance", [None, "frame_severity"])
def test_a_streamed_epoch_of_frames_has_the_same_batches_as_one_from_memory(
    ray_cluster, phantom_store, balance
):
    view = View(num_frames=1, height=24, width=32, num_samples=0)
    rows = store.read_index(phantom_store).to_pylist()[:5]
    settings = {"view": view, "columns": ("frame_severity",), "batch": 8, "seed": 3,
                "by_frame": True, "balance": balance, "num_samples": 20}  # fmt: skip
    memory, streamed = (
        pixels.epochs(rows, **settings)
        for pixels in (in_memory(phantom_store, view), streaming.StreamedFrames(str(phantom_store)))
    )
    batches = check_batches(memory(1), streamed(1))
    assert [batch["frames"].shape for batch in batches] == [(8, 1, *SIZE)] * 2


@in_folder_and_bucket
def test_clips_from_the_store_are_those_in_shared_memory(ray_cluster, phantom_store, location):
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
def test_streamed_masks_are_those_from_memory_and_from_shared_memory(
    ray_cluster, masked_store, aspect, bicubic
):
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


def test_two_workers_train_an_arm_whose_checkpoint_predicts(ray_cluster, phantom_store, tmp_path):
    settings = ["arm.recipe.workers=2", "arm.recipe.epochs=1"]
    experiment = run_options.apply_options(
        EXPERIMENT, "smoke", arms="biomarkers", settings=settings
    )
    campaign.run(RunRequest(experiment, data=phantom_store, out=tmp_path, size="smoke", folds=(0,)))
    cell = Cell("biomarkers", 0)
    predictor = Predictor(RunFolder(tmp_path).cell(cell).checkpoint)
    rows = predictions.read(RunFolder(tmp_path).cell(cell).predictions)[1].to_pylist()[:4]
    clips = store.read(phantom_store, [row["clip"] for row in rows])
    for row, clip in zip(rows, clips, strict=True):
        stored = pytest.approx(np.array(row["probability"]), abs=1e-5)
        assert predictor(clip)["probability"] == stored


def test_clips_beyond_shared_memory_are_mapped_or_streamed_to_the_same_predictions(
    ray_cluster, phantom_store, tmp_path, monkeypatch, capfd
):
    experiment = run_options.apply_options(EXPERIMENT, "smoke", arms="biomarkers")

    def run(name):
        out = tmp_path / name
        campaign.run(RunRequest(experiment, data=phantom_store, out=out, size="smoke", folds=(0,)))
        return predictions.read(RunFolder(out).cell(Cell("biomarkers", 0)).predictions)[1]

    expected = run("memory")
    monkeypatch.setattr(shared_memory, "SHARE", 0.0)
    assert run("disk").equals(expected)
    monkeypatch.setattr(memmap, "SPARE_BYTES", 1 << 60)
    monkeypatch.setattr(memmap, "cache_folder", lambda files: tmp_path / "another cache")
    assert run("streamed").equals(expected)
    assert capfd.readouterr().err.count("clips are streamed from the store") == 1
