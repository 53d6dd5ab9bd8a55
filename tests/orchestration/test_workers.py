"""The large path: Ray Data streams what memory holds elsewhere, Ray Train runs several workers."""

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

VIEW = View(num_frames=4, height=24, width=32)


def test_a_streamed_epoch_has_the_same_batches_as_one_from_memory(ray_cluster, phantom_store):
    rows = store.read_index(phantom_store).to_pylist()[:14]
    clips = {c["clip"]: VIEW.resize(frames_of(c)) for c in store.read(phantom_store)}
    settings = {"view": VIEW, "columns": ("severity",), "batch": 4, "seed": 3}
    memory = InMemory({(24, 32): clips}).epochs(rows, balance="severity", **settings)
    streamed = streaming.StreamedFrames(str(phantom_store)).epochs(
        rows, balance="severity", **settings
    )
    for epoch in (0, 1):
        pairs = list(zip(memory(epoch), streamed(epoch), strict=True))
        assert len(pairs) >= 4
        for one, two in pairs:
            assert torch.equal(one["frames"], two["frames"])
            assert torch.equal(one["severity"], two["severity"])


@pytest.mark.parametrize("balance", [None, "frame_severity"])
def test_a_streamed_epoch_of_frames_has_the_same_batches_as_one_from_memory(
    ray_cluster, phantom_store, balance
):
    view = View(num_frames=1, height=24, width=32, num_samples=0)
    rows = store.read_index(phantom_store).to_pylist()[:5]
    clips = {c["clip"]: view.resize(frames_of(c)) for c in store.read(phantom_store)}
    settings = {"view": view, "columns": ("frame_severity",), "batch": 8, "seed": 3}
    frame_by_frame = {"by_frame": True, "balance": balance, "num_samples": 20, **settings}
    memory = InMemory({(24, 32): clips}).epochs(rows, **frame_by_frame)
    streamed = streaming.StreamedFrames(str(phantom_store)).epochs(rows, **frame_by_frame)
    pairs = list(zip(memory(1), streamed(1), strict=True))
    assert len(pairs) == 2
    for one, two in pairs:
        assert one["frames"].shape == (8, 1, 24, 32)
        assert torch.equal(one["frames"], two["frames"])
        assert torch.equal(one["frame_severity"], two["frame_severity"])


def test_clips_come_from_the_store_as_they_lie_in_shared_memory(ray_cluster, phantom_store):
    index = store.read_index(phantom_store)
    rows = index.to_pylist()[::5]
    shared = shared_memory.attach(shared_memory.share_frames(phantom_store, index, [(24, 32)]))
    streamed = streaming.StreamedFrames(str(phantom_store)).clips(rows, VIEW)
    for one, two in zip(shared.clips(rows, VIEW), streamed, strict=True):
        assert np.array_equal(one, two)


@pytest.fixture(scope="module")
def outlined_store(tmp_path_factory):
    """Four phantom patients with dense masks."""
    folder = tmp_path_factory.mktemp("outlined") / "store"
    ingest("phantom", None, folder, patients=4, clips=1, frames=3, size=64)
    return folder


@pytest.mark.parametrize(("aspect", "bicubic"), [(None, False), (1.3, False), (1.3, True)])
def test_streamed_masks_are_those_from_memory_and_from_shared_memory(
    ray_cluster, outlined_store, aspect, bicubic
):
    view = View(1, height=24, width=32, num_samples=0, aspect=aspect, bicubic=bicubic)
    index = store.read_index(outlined_store)
    rows = [{**row, "num_frames": 3} for row in index.to_pylist()]
    clips = list(store.read(outlined_store))
    size = batches.size_of(view)
    memory = InMemory(
        {size: {c["clip"]: view.resize(frames_of(c)) for c in clips}},
        {size: {c["clip"]: view.resize_masks(masks_of(c)) for c in clips}},
    )
    streamed = streaming.StreamedFrames(str(outlined_store))
    shared = shared_memory.attach(shared_memory.share_frames(outlined_store, index, [size], [size]))
    settings = {"view": view, "columns": (), "scheme": "sparse", "batch": 8, "seed": 3,
                "by_frame": True, "num_samples": 16, "copies": 6}  # fmt: skip
    epochs = [pixels.epochs(rows, **settings)(1) for pixels in (memory, streamed, shared)]
    num_batches = 0
    for one, *others in zip(*epochs, strict=True):
        num_batches += 1
        assert one["masks"].shape == (8, 1, 24, 32)
        assert one["masks"].max() == 3
        for other in others:
            assert one.keys() == other.keys() == {"frames", "masks", "copy"}
            assert all(torch.equal(one[name], other[name]) for name in one)
    assert num_batches == 2
    for pixels in (streamed, shared):
        whole = zip(memory.masks(rows, view), pixels.masks(rows, view), strict=True)
        assert all(np.array_equal(one, two) for one, two in whole)


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

    def made(name):
        out = tmp_path / name
        campaign.run(RunRequest(experiment, data=phantom_store, out=out, size="smoke", folds=(0,)))
        return predictions.read(RunFolder(out).cell(Cell("biomarkers", 0)).predictions)[1]

    in_memory = made("memory")
    monkeypatch.setattr(shared_memory, "SHARE", 0.0)
    assert made("disk").equals(in_memory)
    monkeypatch.setattr(memmap, "SPARE_BYTES", 1 << 60)
    monkeypatch.setattr(memmap, "cache_folder", lambda files: tmp_path / "another cache")
    assert made("streamed").equals(in_memory)
    said = capfd.readouterr().err
    assert said.count("clips are streamed from the store") == 1
