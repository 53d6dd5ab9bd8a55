"""Readers are compared on equal batches."""

from collections.abc import Iterator
from functools import partial

import av
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from lus_ray.bench import clips, inputs, reads
from lus_ray.bench.inputs import VideoSet
from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.loading.sampler import SampleSpec
from lus_ray.data.transforms.view import View

VIEW = View(num_frames=5, height=64, width=64)


@pytest.fixture(scope="module")
def video_set() -> Iterator[VideoSet]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "NUM_DISTINCT", 6)
        with inputs.make_videos(num_clips=2, num_frames=12, size=64, images=True) as video_set:
            yield video_set


@pytest.fixture(scope="module")
def stored(video_set: VideoSet) -> dict[str, np.ndarray]:
    return {row["clip"]: frames_of(row) for row in store.read(video_set.store)}


@pytest.mark.slow
def test_videos_images_and_store_hold_the_same_pixels_behind_one_keyframe(video_set, stored):
    for clip, frames in stored.items():
        assert frames.shape == (12, 64, 64)
        assert np.array_equal(frames, inputs.decode_frames(video_set.videos[clip], range(12)))
        assert np.array_equal(frames, [np.array(Image.open(p)) for p in video_set.images[clip]])
        with av.open(str(video_set.videos[clip])) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert keys == [True] + [False] * 11


def test_frames_requested_twice_come_twice(video_set: VideoSet):
    (path, *_) = video_set.videos.values()
    every = inputs.decode_frames(path, range(12))
    assert np.array_equal(inputs.decode_frames(path, [0, 3, 3, 7]), every[[0, 3, 3, 7]])


def test_a_window_of_a_video_is_the_window_of_a_view(video_set, stored):
    data = inputs.VideoWindows(video_set.videos, VIEW)
    for row in video_set.rows:
        for seed in range(5):
            expected = VIEW.sample(stored[row["clip"]], np.random.default_rng(seed))
            assert np.array_equal(data[0, row, SampleSpec(0, seed)], expected)


def test_both_rivals_give_the_batches_of_an_epoch_and_their_workers_end(video_set, stored):
    epoch = inputs.sample_epoch(video_set.rows, epoch=0, **reads.SETTINGS)
    frames = [[stored[video_set.rows[d.row]["clip"]][d.frame] for d in batch] for batch in epoch]
    expected = [torch.from_numpy(np.stack(batch)[:, None]) for batch in frames]
    for data in (inputs.ImageFrames(video_set.images), inputs.VideoFileFrames(video_set.videos)):
        loader = inputs.EpochInputs(video_set, VIEW, reads.SETTINGS).new_loader(data)
        reads.check_equal(lambda: expected, partial(iter, loader), "rival")
        before = {child.pid for child in psutil.Process().children()}
        assert not torch.equal(next(iter(loader)), expected[0])  # epoch 1 has another order
        del loader
        after = {child.pid for child in psutil.Process().children()}
        assert len(before - after) == inputs.NUM_WORKERS


def test_a_pass_through_a_store_reads_every_frame(tmp_path):
    clips.write_tiny_clips(tmp_path, 37)
    assert clips.read_store(tmp_path, 3) == 37 * 4 * 3


def test_copies_have_their_own_names_and_equal_pixels(video_set: VideoSet, tmp_path):
    clips.write_copies(tmp_path, video_set, 2)
    copies = list(store.read(tmp_path))
    assert len({row["clip"] for row in copies}) == 4
    assert len({row["sha256"] for row in copies}) == 2
