"""Readers of frames are compared on equal batches; speed itself is not asserted."""

from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from lus_ray.bench import inputs, loaders, reads
from lus_ray.bench.inputs import Footage
from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.errors import LusError


@pytest.fixture(scope="module")
def films() -> Iterator[Footage]:
    """Two clips of 12 frames of 64 x 64, of which 6 differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "NUM_FILMED", 6)
        with inputs.footage(num_clips=2, num_frames=12, size=64, pictures=True) as films:
            yield films


def stored(films: Footage) -> list[torch.Tensor]:
    """The batches of epoch 0, frame by frame from the store."""
    clips = {row["clip"]: frames_of(row) for row in store.read(films.store)}
    drawn = reads.sample_epoch(films.rows, epoch=0, **reads.SETTINGS)
    return [
        torch.from_numpy(
            np.stack([clips[films.rows[d.row]["clip"]][d.frame : d.frame + 1] for d in draws])
        )
        for draws in drawn
    ]


def test_videos_pictures_and_the_store_hold_the_same_pixels(films: Footage):
    for row in store.read(films.store):
        frames = frames_of(row)
        decoded = loaders.decode(films.videos[row["clip"]], range(12))
        printed = [np.array(Image.open(path)) for path in films.pictures[row["clip"]]]
        assert frames.shape == (12, 64, 64)
        assert np.array_equal(frames, decoded)
        assert np.array_equal(frames, printed)


def test_a_video_has_one_keyframe(films: Footage):
    for path in films.videos.values():
        with loaders.av.open(str(path)) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert keys == [True] + [False] * 11


def test_both_rivals_give_the_batches_of_an_epoch_and_their_workers_end(films: Footage):
    expected = stored(films)
    for data in (loaders.Pictures(films.pictures), loaders.VideoFrames(films.videos)):
        loader = reads.fresh(films, data)
        reads.check_equal(expected, loader, "rival")
        assert len(psutil.Process().children()) >= loaders.NUM_WORKERS
        before = {child.pid for child in psutil.Process().children()}
        del loader
        left = {child.pid for child in psutil.Process().children()}
        assert len(before - left) == loaders.NUM_WORKERS


def test_the_next_epoch_of_a_loader_has_another_order(films: Footage):
    loader = reads.fresh(films, loaders.Pictures(films.pictures))
    first, second = list(loader), list(loader)
    assert not torch.equal(first[0], second[0])


def test_one_pixel_that_differs_gets_no_ratio(films: Footage):
    expected = stored(films)
    other = [batch.clone() for batch in expected]
    other[0][0, 0, 5, 5] ^= 1
    reads.check_equal(expected, expected, "twin")
    with pytest.raises(LusError, match="batch 0 of 'other' holds other pixels than ours"):
        reads.check_equal(expected, other, "other")


def test_a_reader_that_stops_early_gets_no_ratio(films: Footage):
    expected = stored(films)
    with pytest.raises(LusError, match="'lazy' gives 0 batches, ours 1"):
        reads.check_equal(expected, expected[1:], "lazy")


@pytest.mark.ray
@pytest.mark.slow
def test_reads_are_measured_against_both_rivals():
    found = reads.measure(1, num_clips=2, num_frames=20, size=64)
    assert list(found) == [
        "epoch",
        "epoch, mapped",
        "first epoch, decoding included",
        "epoch, streamed",
        "first batch of a cell",
        "first batch, decoding included",
    ]
    for measured in found.values():
        assert [rival.name for rival in measured.rivals] == ["DataLoader, PNG", "DataLoader, mp4"]
        assert measured.wall_ms > 0
    targets = [measured.target for measured in found.values()]
    assert targets == [5, 5, 5, 5, 1, 1]
