"""Readers of windows are compared on equal batches; speed itself is not asserted."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lus_ray.bench import clips, loaders, reads, scale
from lus_ray.bench.inputs import Footage, footage
from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.loading.sampler import SampleSpec
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError

VIEW = View(num_frames=5, height=64, width=64)


@pytest.fixture(scope="module")
def films() -> Iterator[Footage]:
    """Three clips of 12 frames of 64 x 64."""
    with footage(num_clips=3, num_frames=12, size=64) as films:
        yield films


def test_a_window_of_a_video_is_the_window_of_a_view(films: Footage):
    frames = {row["clip"]: frames_of(row) for row in store.read(films.store)}
    data = loaders.VideoWindows(films.videos, VIEW)
    for row in films.rows:
        for seed in range(5):
            expected = VIEW.sample(frames[row["clip"]], np.random.default_rng(seed))
            assert np.array_equal(data[0, row, SampleSpec(0, seed)], expected)


def test_a_frame_that_is_asked_for_twice_comes_twice(films: Footage):
    (path, *_) = films.videos.values()
    every = loaders.decode(path, range(12))
    assert np.array_equal(loaders.decode(path, [0, 3, 3, 7]), every[[0, 3, 3, 7]])


def test_windows_with_another_start_get_no_ratio(films: Footage):
    loader = reads.fresh(films, loaders.VideoWindows(films.videos, VIEW), clips.SETTINGS)
    ours = list(loader)
    assert ours[0].shape == (3, 5, 64, 64)
    shifted = [torch.roll(batch, 1, dims=1) for batch in ours]
    with pytest.raises(LusError, match="batch 0 of 'shifted' holds other pixels"):
        reads.check_equal(ours, shifted, "shifted")


def test_a_pass_through_a_store_reads_every_frame(tmp_path):
    scale.write_tiny(tmp_path, 37)
    assert scale.through(tmp_path, 1) == 37 * 4
    assert scale.through(tmp_path, 3) == 37 * 4 * 3
    with pytest.raises(LusError, match="148 frames were read of 152"):
        scale.check_count(scale.through(tmp_path, 1), 38 * 4, "frames")


def test_copies_have_names_of_their_own_and_equal_pixels(films: Footage, tmp_path):
    scale.write_copies(tmp_path, films, 2)
    copies = list(store.read(tmp_path))
    assert len({row["clip"] for row in copies}) == 6
    assert len({row["sha256"] for row in copies}) == 3


@pytest.mark.ray
@pytest.mark.slow
def test_windows_and_what_should_not_grow_are_measured():
    found = clips.measure(1, num_clips=2, num_frames=20, size=64, many=400, num_shares=2)
    assert {name: measured.target for name, measured in found.items()} == {
        "windows": 5,
        "windows, mapped": 5,
        "windows, first epoch, decoding included": 5,
        "windows, streamed": 5,
        "400 clips": 0.8,
        "streamed from 2 shares of memory": 0.8,
    }
    assert all(len(measured.rivals) == 1 for measured in found.values())
